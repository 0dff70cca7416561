"""Learned reward models of text: network, heads, tokenisation, saving and loading."""

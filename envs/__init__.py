"""Environments. `registration.py` has their ids."""

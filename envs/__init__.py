"""Environments: what an agent may learn in. `registration.py` gives them their ids."""

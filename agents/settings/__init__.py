"""Hyperparameters, the registry of agents, and seeding: what all else in `agents` builds on."""

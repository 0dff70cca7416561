"""Hyperparameters, the registry of agents, and seeding."""

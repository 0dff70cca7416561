"""Hyperparameters kept for environments, one JSON file an agent."""

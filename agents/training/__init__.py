"""Collecting, optimising, evaluating, saving and resuming: what every agent's training is made of."""

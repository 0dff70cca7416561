"""Run folders, checkpoints, metrics, progress and plots; imports nothing else of the library."""

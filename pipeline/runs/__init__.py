"""What the commands keep in a run's folder."""

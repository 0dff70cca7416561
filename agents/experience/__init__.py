"""Experience: rollouts, returns and advantages, running statistics."""

"""What an agent has seen and done: rollouts, returns and advantages, running statistics."""

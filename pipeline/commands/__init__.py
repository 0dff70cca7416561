"""The commands of `textrlhf`, one module each."""

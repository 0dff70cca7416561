"""Training reward models on human judgements."""

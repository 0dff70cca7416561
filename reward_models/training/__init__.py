"""Training reward models on judgements, on other reward models, and on unlabelled texts."""

"""How well a reward model agrees with human judgements: metrics and a report."""

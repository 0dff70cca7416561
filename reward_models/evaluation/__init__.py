"""How well a reward model agrees with human judgements, and the report that says so."""

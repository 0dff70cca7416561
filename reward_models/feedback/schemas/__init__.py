"""The schemas that data sets come in: how each is recognised, and what it says as judgements."""

"""The command line, what its runs store, and the making of the shipped models."""

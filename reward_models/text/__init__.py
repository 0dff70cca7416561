"""The learned reward model of texts: a transformer trunk, a scalar head, and its folder."""

"""Everything brought together: the commands a user types, and what they leave behind."""

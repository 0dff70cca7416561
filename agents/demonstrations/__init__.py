"""Episodes of an expert: recorded, saved, loaded, checked and laid out for imitation."""

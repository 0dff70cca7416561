"""What the commands store in run folders and load from them."""

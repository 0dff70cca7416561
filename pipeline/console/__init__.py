"""Reading command lines and printing to the terminal."""

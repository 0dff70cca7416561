"""The commands of `textrlhf reward`, one module each."""

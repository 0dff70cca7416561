"""The commands `textrlhf reward …`."""

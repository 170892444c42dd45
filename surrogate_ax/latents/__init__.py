"""Latents: seeds, banks and coefficient rows, charts and boxes over them, priors and their laws."""

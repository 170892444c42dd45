"""What turns latents into outputs: the protocols, generators of functions, conditions, and recipes."""

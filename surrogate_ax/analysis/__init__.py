"""What a search has found: diagnostics of latents and generators, the use of seeds, the best that differ."""

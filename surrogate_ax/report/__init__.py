"""A search as one HTML page."""

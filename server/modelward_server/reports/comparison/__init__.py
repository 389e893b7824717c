"""A comparison drawn, as a page and as a picture."""

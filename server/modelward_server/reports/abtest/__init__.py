"""Reports of A/B tests, as an HTML page and as a picture."""

"""Reports of comparisons, as an HTML page and as a picture."""

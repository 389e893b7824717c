"""How an A/B test stands, drawn as a page and as a picture."""

"""Drawings of drift reports: a page, and a picture."""

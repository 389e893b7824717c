"""Drift: profiles of reference data, statistics against them, and the decision what counts."""

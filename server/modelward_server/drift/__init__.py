"""Drift detection: profiles of reference data, statistics relative to them, decisions, and performance monitoring."""

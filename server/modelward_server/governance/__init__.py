"""Governance: evidence for promotion gates, and verification of the registry against its audit log."""

"""Scoring: predictions of registered models, each kept loaded in a sandboxed process."""

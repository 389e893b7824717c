"""Observability: health, logs and metrics of a running server."""

"""Interceptors around every call: error handling, metrics, logging, authentication, limits and validation."""

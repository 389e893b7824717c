"""What runs around every call: a last resort, measurements, errors, authentication, limits and validation."""

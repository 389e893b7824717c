"""The border: servicers, interceptors and what turns messages into values."""

"""Converters between the dataclasses and the contract's messages, in pairs `x_to_proto` and `x_from_proto`."""

"""Values that may be missing."""

from typing import TypeVar

Value = TypeVar("Value")


def present(value: Value | None) -> Value:
    """Return a value that has to be there."""
    assert value is not None
    return value

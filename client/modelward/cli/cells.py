"""Cells of tables whose text is shorter than their value."""

from typing import Any, NamedTuple


class Cell(NamedTuple):
    """A value, and how it is shown to people: rounded, in colour, or in words."""

    value: Any
    text: Any

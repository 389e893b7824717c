"""Cells of CSV files that a spreadsheet shows as they are."""

from modelward._text import visible

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a text begins with that a spreadsheet would run; the last four are the first ones in full width."""


def harmless(text: str) -> str:
    """Return a text that no spreadsheet runs as a formula, with an apostrophe if it would, and nothing hidden in it."""
    shown = visible(text)
    return f"'{shown}" if shown.startswith(FORMULAS) else shown

"""Cells of CSV files that a spreadsheet shows as they are."""

FORMULAS = ("=", "+", "-", "@", "\t", "\r")
"""What a text begins with that a spreadsheet would run."""


def harmless(text: str) -> str:
    """Return a text that no spreadsheet runs as a formula: it begins with an apostrophe if it would."""
    return f"'{text}" if text.startswith(FORMULAS) else text

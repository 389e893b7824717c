"""Suggestions for names that do not exist."""

import difflib
from collections.abc import Collection, Iterable


def nearest(text: str, names: Iterable[str]) -> str:
    """Return a suggestion, such as ` (did you mean 'production'?)`; empty when no name is close."""
    by_lower = {name.lower(): name for name in names}
    matches = difflib.get_close_matches(text.lower(), by_lower, 1, 0.7)
    return f" (did you mean {by_lower[matches[0]]!r}?)" if matches else ""


def unknown_columns(ignored: Iterable[str], names: Collection[str]) -> list[str]:
    """Return an error text for each column to be ignored that is not in the data."""
    return [
        f"names {name!r}, which is not in the data{nearest(name, names)}; the columns are {', '.join(names):.300}"
        for name in ignored
        if name not in names
    ]

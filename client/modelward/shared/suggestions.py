"""What a name that does not exist was meant to be."""

import difflib
from collections.abc import Collection, Iterable


def nearest(text: str, names: Iterable[str]) -> str:
    """Return a suggestion, as ` (did you mean 'production'?)`; empty when no name is near."""
    by_lower = {name.lower(): name for name in names}
    found = difflib.get_close_matches(text.lower(), by_lower, 1, 0.7)
    return f" (did you mean {by_lower[found[0]]!r}?)" if found else ""


def unknown_columns(ignored: Iterable[str], names: Collection[str]) -> list[str]:
    """Say of each column that is to be ignored and is none of the data what is wrong with it."""
    return [
        f"names {name!r}, which is no column of the data{nearest(name, names)}; it has {', '.join(names):.300}"
        for name in ignored
        if name not in names
    ]

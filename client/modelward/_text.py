"""Sanitize text from other sources for display: no terminal control, no reordering of text, nothing invisible."""

import re
import unicodedata

IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
"""Characters that are drawn as nothing although they are letters or marks by category."""
SUSPECT = re.compile(r"[^\n\t\x20-\x7e]")
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Control and format characters, including C1 and those of bidirectional text, surrogates, and line separators."""


def has_surrogate(text: str) -> bool:
    """Return whether a text contains a lone surrogate and therefore cannot be encoded as UTF-8."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def is_hidden(character: str) -> bool:
    """Return whether a character is invisible or controls the display."""
    return unicodedata.category(character) in HIDDEN or IGNORABLE.match(character) is not None


def visible(text: str) -> str:
    r"""Escape the hidden characters of a text in Python's notation, `\x1b` or `\u202e`; line breaks and tabs stay."""
    return SUSPECT.sub(lambda match: _escape(match[0]) if is_hidden(match[0]) else match[0], text)


def one_line(text: str) -> str:
    """Format a text in one line with its hidden characters escaped."""
    return " ".join(visible(text).split())


def visible_json(document: str) -> str:
    r"""Escape the hidden characters of a JSON document in JSON's notation, `\u202e`; its meaning does not change."""
    return SUSPECT.sub(lambda match: _escape_json(match[0]) if is_hidden(match[0]) else match[0], document)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _escape_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))

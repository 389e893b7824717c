"""Texts that say nothing."""

from modelward._text import is_hidden


def is_blank(text: str) -> bool:
    """Return whether nothing of a text can be seen."""
    return all(character.isspace() or is_hidden(character) for character in text)

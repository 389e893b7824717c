"""Others' texts as one may show them: nothing in them drives a terminal, turns the line around or hides."""

import re
import unicodedata

IGNORABLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
"""What is drawn as nothing though it is a letter or a mark by its category."""
SUSPECT = re.compile(r"[^\n\t\x20-\x7e]")
HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Control and format characters, such as C1 and those of bidirectional text, surrogates, and breaks of lines."""


def has_surrogate(text: str) -> bool:
    """Tell whether a text has half of a surrogate pair, so that it cannot be written as UTF-8."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def is_hidden(character: str) -> bool:
    """Tell whether a character is not drawn, or drives what draws it."""
    return unicodedata.category(character) in HIDDEN or IGNORABLE.match(character) is not None


def visible(text: str) -> str:
    r"""Write what is hidden in a text as Python does, `\x1b` or `\u202e`; breaks of lines and tabs stay."""
    return SUSPECT.sub(lambda found: _escape(found[0]) if is_hidden(found[0]) else found[0], text)


def one_line(text: str) -> str:
    """Write a text in one line, nothing in it hidden."""
    return " ".join(visible(text).split())


def visible_json(document: str) -> str:
    r"""Write what is hidden in a JSON document as JSON does, `\u202e`: it means the same then."""
    return SUSPECT.sub(lambda found: _escape_json(found[0]) if is_hidden(found[0]) else found[0], document)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _escape_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))

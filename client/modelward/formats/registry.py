"""The formats that are installed: those of Modelward and those of other packages, found alike by entry points."""

import logging
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelward.formats.base import Format

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "modelward.formats"
LAST = "skops"
"""It takes any estimator, so all other formats are asked before it; they are asked in the order of their names."""
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,15}")
"""The names that the contract allows."""
log: logging.Logger = logging.getLogger(__name__)


@cache
def formats() -> Mapping[str, Format]:
    """Return the installed formats by their names; one that cannot be imported is logged and left out."""
    from importlib.metadata import entry_points  # Imported here, because it takes time that a light client need not.

    found = (
        _loaded(point)
        for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name == LAST, point.name))
    )
    return {known.name: known for known in found if known is not None}


def _loaded(point: "EntryPoint") -> Format | None:
    try:
        known: Format = point.load()
        if not NAME.fullmatch(known.name):
            raise ValueError(f"its name {known.name!r} is not 1 to 16 lowercase letters, digits and hyphens")
    except Exception as error:  # Another package's module may raise anything.
        log.warning("the format %s of %s is left out: %s: %s", point.name, point.value, type(error).__name__, error)
        return None
    return known


def format_of_object(model: object) -> Format | None:
    """Return the first format that takes an object."""
    return next((known for known in formats().values() if _answers(known, known.takes, model)), None)


def format_of_file(path: Path) -> Format | None:
    """Return the first format that recognises a file by its content."""
    return next((known for known in formats().values() if _answers(known, known.recognises, path)), None)


def _answers(known: Format, question: Callable[[Any], bool], subject: object) -> bool:
    """Return a format's answer; one that raises does not know the subject, and must not hide the other formats."""
    try:
        return question(subject)
    except Exception as error:  # Another package's method may raise anything.
        log.warning("the format %s is not asked: %s: %s", known.name, type(error).__name__, error)
        return False

"""The formats that are installed: those of Modelward and those of other packages, found alike by entry points."""

import logging
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from modelward.formats.base import Format

GROUP = "modelward.formats"
log: logging.Logger = logging.getLogger(__name__)


@cache
def formats() -> Mapping[str, Format]:
    """Return the installed formats by their names; one that cannot be imported is logged and left out."""
    found = (_loaded(point) for point in sorted(entry_points(group=GROUP), key=lambda point: point.name))
    return {known.name: known for known in found if known is not None}


def _loaded(point: EntryPoint) -> Format | None:
    try:
        known: Format = point.load()
    except Exception as error:  # Another package's module may raise anything.
        log.warning("the format %s of %s is left out: %s: %s", point.name, point.value, type(error).__name__, error)
        return None
    return known


def format_of_object(model: object) -> Format | None:
    """Return the first format that takes an object."""
    return next((known for known in formats().values() if known.takes(model)), None)


def format_of_file(path: Path) -> Format | None:
    """Return the first format that recognises a file by its content."""
    return next((known for known in formats().values() if known.recognises(path)), None)

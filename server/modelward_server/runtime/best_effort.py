"""What only observes must not fail a call: whatever it raises is logged, and the call goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import ParamSpec, TypeVar

from cachetools import TTLCache

P = ParamSpec("P")
Value = TypeVar("Value")

SECONDS_BETWEEN_LINES = 60.0
"""How often the log says of one thing that it fails: calls are many."""

log = logging.getLogger(__name__)
_told: TTLCache[str, bool] = TTLCache(1_000, SECONDS_BETWEEN_LINES)


def harmless(function: Callable[P, Value]) -> Callable[P, Value | None]:
    """Return a function that gives None where the other one raises."""

    def quiet(*args: P.args, **kwargs: P.kwargs) -> Value | None:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            _tell(getattr(function, "__qualname__", repr(function)), error)
            return None

    return quiet


class Harmless(AbstractContextManager[None]):
    """Another context manager, which neither fails nor ends what runs in it.

    Args:
        make: returns that context manager.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[object]]) -> None:
        self._make = make

    def __enter__(self) -> None:
        self._inner = harmless(self._enter)()

    def _enter(self) -> AbstractContextManager[object]:
        inner = self._make()
        inner.__enter__()
        return inner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._inner is not None:
            harmless(self._inner.__exit__)(kind, error, trace)


def _tell(what: str, error: Exception) -> None:
    """Log a failure, unless that was done lately, or logging is what fails."""
    with suppress(Exception):
        if what not in _told:
            _told[what] = True
            log.error("%s failed, and the call went on without it", what, exc_info=error)

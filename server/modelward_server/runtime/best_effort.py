"""Best-effort execution for observers: their exceptions are logged and never fail the observed call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import ParamSpec, TypeVar

from cachetools import TTLCache

P = ParamSpec("P")
Value = TypeVar("Value")

LOG_INTERVAL_SECONDS = 60.0
"""Minimum interval between log lines about the same failing function: it may run on every call."""

log = logging.getLogger(__name__)
_logged: TTLCache[str, bool] = TTLCache(1_000, LOG_INTERVAL_SECONDS)


def best_effort(function: Callable[P, Value]) -> Callable[P, Value | None]:
    """Return a function that returns None where the given one raises."""

    def quiet(*args: P.args, **kwargs: P.kwargs) -> Value | None:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            _log_failure(getattr(function, "__qualname__", repr(function)), error)
            return None

    return quiet


class BestEffort(AbstractContextManager[None]):
    """Wraps a context manager whose failures neither propagate nor end the block.

    Args:
        make: creates the wrapped context manager.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[object]]) -> None:
        self._make = make

    def __enter__(self) -> None:
        self._inner = best_effort(self._enter)()

    def _enter(self) -> AbstractContextManager[object]:
        inner = self._make()
        inner.__enter__()
        return inner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._inner is not None:
            best_effort(self._inner.__exit__)(kind, error, trace)


def _log_failure(what: str, error: Exception) -> None:
    """Log a failure, unless it was logged recently, or logging itself fails."""
    with suppress(Exception):
        if what not in _logged:
            _logged[what] = True
            log.error("%s failed, and the call continued without it", what, exc_info=error)

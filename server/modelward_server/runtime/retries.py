"""Retries for loops over many items: an item that fails is logged once and retried later, and the others continue."""

import logging
import threading
import time
from collections.abc import Collection, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

from cachetools import LRUCache

from modelward.errors import ModelwardError
from modelward_server.runtime.background import note_failure

log = logging.getLogger(__name__)

Key = TypeVar("Key", bound=Hashable)

_logged: LRUCache[tuple[object, ...], bool] = LRUCache(1000)
_logging = threading.Lock()


def log_once(what: str, item: object, error: Exception) -> None:
    """Log with its traceback why one item of many failed, unless it failed in the same way before."""
    key = (what, item, type(error), str(error))
    with _logging:
        is_new, _logged[key] = key not in _logged, True
    if is_new:
        log.warning("%s %s failed: %s", what, item, error, exc_info=error)


@dataclass
class _Failed:
    text: str = ""
    attempts: int = 0
    due: float = 0.0


class Retries(Generic[Key]):
    """Tracks which items failed, each with a pause that doubles with every failure.

    Args:
        what: the kind of item, for the log.
        first_seconds: the pause after the first failure.
        max_seconds: the longest one.
    """

    def __init__(self, what: str, first_seconds: float, max_seconds: float) -> None:
        self._what = what
        self._first = first_seconds
        self._max = max_seconds
        self._failed: dict[Key, _Failed] = {}

    def is_due(self, key: Key) -> bool:
        """Return whether an item may be tried: it has not failed, or its pause is over."""
        return key not in self._failed or time.monotonic() >= self._failed[key].due

    def attempts(self, key: Key) -> int:
        """Return the number of consecutive failures of an item."""
        return self._failed[key].attempts if key in self._failed else 0

    def seconds_left(self) -> float:
        """Return the time until the first of the failed items is due; infinity without one."""
        return max(0.0, min((one.due for one in self._failed.values()), default=inf) - time.monotonic())

    def retain(self, keys: Collection[Key]) -> None:
        """Drop the state of all items but these."""
        self._failed = {key: one for key, one in self._failed.items() if key in keys}

    @contextmanager
    def attempt(self, key: Key) -> Iterator[None]:
        """Attempt an item in a block: its exception is recorded and suppressed."""
        try:
            yield
        except Exception as error:
            self._note(key, error)
        else:
            self._failed.pop(key, None)

    def _note(self, key: Key, error: Exception) -> None:
        note_failure(error)
        one = self._failed.setdefault(key, _Failed())
        pause = min(self._first * 2.0 ** min(one.attempts, 32), self._max)
        text, one.text = one.text, f"{type(error).__name__}: {error}"
        one.attempts, one.due = one.attempts + 1, time.monotonic() + pause
        if text != one.text:  # The same failure again is not logged again.
            traceback = None if isinstance(error, ModelwardError) else error
            log.warning("%s %s failed and will be retried: %s", self._what, key, error, exc_info=traceback)

"""Admission control: a bound on concurrent work, beyond which clients are asked to retry later."""

from collections.abc import Iterator
from contextlib import contextmanager

from modelward.errors import LimitReached

RETRY_SECONDS = 1.0
"""Delay that a refused client is asked to wait before it retries."""


class Admission:
    """Counts concurrent work on the event loop and refuses more than a maximum.

    Args:
        what: names the work in the error message, in the plural.
        limit: names the limit in the error's metadata.
        max_open: maximum number under way at once.
    """

    def __init__(self, what: str, limit: str, max_open: int) -> None:
        self._what = what
        self._limit = limit
        self._max_open = max_open
        self.open = 0

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count one piece of work as under way while the context lasts.

        Raises:
            LimitReached: the maximum number is under way.
        """
        if self.open >= self._max_open:
            message = f"the server has {self._max_open} {self._what} under way, its maximum; retry later"
            raise LimitReached(message, retry_seconds=RETRY_SECONDS, limit=self._limit)
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

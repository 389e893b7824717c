"""A bound on work that is under way, beyond which a caller is told to come again."""

from collections.abc import Iterator
from contextlib import contextmanager

from modelward.errors import LimitReached

RETRY_SECONDS = 1.0
"""After how long a caller is told to come again."""


class Admission:
    """Counts what is under way, on the event loop.

    Args:
        what: names it in the error, in the plural.
        limit: names the limit in the error's metadata.
        max_open: how many may be under way.
    """

    def __init__(self, what: str, limit: str, max_open: int) -> None:
        self._what = what
        self._limit = limit
        self._max_open = max_open
        self.open = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Count one while the context lasts.

        Raises:
            LimitReached: as many are under way as may be.
        """
        if self.open >= self._max_open:
            said = f"the server has {self._max_open} {self._what} under way, as many as it takes; come again"
            raise LimitReached(said, retry_seconds=RETRY_SECONDS, limit=self._limit)
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

"""Admission control: a bound on concurrent work, beyond which clients are asked to retry later."""

from collections import Counter
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
        max_of_client: maximum number of one client, so that it does not take them all; None for no such maximum.
    """

    def __init__(self, what: str, limit: str, max_open: int, max_of_client: int | None = None) -> None:
        self._what = what
        self._limit = limit
        self._max_open = max_open
        self._max_of_client = max_open if max_of_client is None else max_of_client
        self._of_client: Counter[str] = Counter()
        self.open = 0

    @contextmanager
    def admit(self, client: str = "") -> Iterator[None]:
        """Count one piece of work as under way while the context lasts.

        Args:
            client: whose work it is, where the number of one client is limited.

        Raises:
            LimitReached: the maximum number is under way.
        """
        if self.open >= self._max_open:
            raise self._reached(f"the server has {self._max_open} {self._what} under way, its maximum")
        if self._of_client[client] >= self._max_of_client:
            raise self._reached(f"{client} has {self._max_of_client} {self._what} under way, the maximum of one client")
        self.open += 1
        self._of_client[client] += 1
        try:
            yield
        finally:
            self.open -= 1
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]

    def _reached(self, why: str) -> LimitReached:
        return LimitReached(f"{why}; retry later", retry_seconds=RETRY_SECONDS, limit=self._limit)

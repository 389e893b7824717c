"""How long a stream may be silent: a server that hangs says nothing, and no deadline of its own ends a long stream."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Protocol, Self


class Timer(Protocol):
    """What runs out at some time."""

    def cancel(self) -> object: ...


class Silence:
    """Ends a call that says nothing for too long. Use it in a `with` block around what waits for the call.

    Args:
        end: ends the call.
        seconds: how long it may be silent; infinite where it may be so for ever.
    """

    def __init__(self, end: Callable[[], object], seconds: float) -> None:
        self._end = end
        self._seconds = seconds
        self._since: float | None = None
        self._timer: Timer | None = None
        self._over = False
        self.expired = 0.0
        """The seconds of silence that it was ended for; else 0."""

    def __enter__(self) -> Self:
        self.resume()
        if self._seconds < threading.TIMEOUT_MAX:
            self._timer = self._start_timer(self._seconds)
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        if self._timer:
            self._timer.cancel()

    def pause(self) -> None:
        """Note that something came; what the caller does with it is nobody's silence."""
        self._since = None

    def resume(self) -> None:
        """Note that the caller waits."""
        self._since = time.monotonic()

    def _look(self) -> None:
        """See how long it has been silent: the timer is not set anew for each message, which would cost more."""
        since = self._since
        left = self._seconds if since is None else since + self._seconds - time.monotonic()
        if self._over:
            return
        if left > 0:
            self._timer = self._start_timer(left)
        else:
            self.expired = self._seconds
            self._end()

    def _start_timer(self, seconds: float) -> Timer:
        timer = threading.Timer(seconds, self._look)
        timer.daemon = True
        timer.start()
        return timer


class AsyncSilence(Silence):
    """The same on an event loop, without threads."""

    def _start_timer(self, seconds: float) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, self._look)

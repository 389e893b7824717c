"""Idle timeout of streams: a server that hangs sends nothing, and a long stream has no deadline that would end it."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Protocol, Self


class Timer(Protocol):
    """A timer that can be cancelled."""

    def cancel(self) -> object: ...


class IdleTimeout:
    """Ends a call that receives nothing for too long. Use it in a `with` block around the code that waits for the call.

    Args:
        end: ends the call.
        seconds: the idle timeout; infinite for none.
    """

    def __init__(self, end: Callable[[], object], seconds: float) -> None:
        self._end = end
        self._seconds = seconds
        self._since: float | None = None
        self._timer: Timer | None = None
        self._over = False
        self.expired: float = 0.0
        """The idle time in seconds after which the call was ended; 0 if it was not."""

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
        """Stop the clock when a message arrives: the time that the caller takes to process it does not count."""
        self._since = None

    def resume(self) -> None:
        """Start the clock when the caller waits."""
        self._since = time.monotonic()

    def _look(self) -> None:
        """Check the idle time. The timer is not restarted for each message, which would cost more."""
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


class AsyncIdleTimeout(IdleTimeout):
    """An idle timeout on an event loop, without threads."""

    def _start_timer(self, seconds: float) -> Timer:
        return asyncio.get_running_loop().call_later(seconds, self._look)

"""Cancellation of work that runs in a thread."""

import asyncio
import threading
from collections.abc import Callable
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
Value = TypeVar("Value")


class Abandoned(Exception):  # noqa: N818 - named for the event, as asyncio's cancellation is
    """Raised to roll back a transaction whose client has gone away."""


class CancellationToken:
    """Cancels a function in a thread when the task that awaits it is cancelled.

    A thread cannot be ended from outside: the function checks for cancellation before it begins, which may be long
    after it was submitted, and again before its result takes effect.
    """

    def __init__(self) -> None:
        self._cancelled = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is asyncio.CancelledError:
            self._cancelled.set()

    def guard(self, function: Callable[P, Value]) -> Callable[P, Value]:
        """Return a function that raises `Abandoned` when the block was cancelled before the function began or ended."""

        def guarded(*args: P.args, **kwargs: P.kwargs) -> Value:
            self._check()
            result = function(*args, **kwargs)
            self._check()
            return result

        return guarded

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise Abandoned

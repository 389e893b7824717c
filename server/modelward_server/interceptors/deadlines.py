"""The end of calls whose clients set none, and of work that nobody waits for any more."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Self, TypeVar

from sqlalchemy.orm import Session

from modelward.errors import DeadlineExceeded
from modelward.v1.retraining_pb2 import LeaseJobRequest, LeaseJobsRequest
from modelward_server.interceptors.base import Call, Interceptor

Value = TypeVar("Value")


class Deadlines(Interceptor):
    """Gives a deadline to each call that came without one. Streams may last: watches and uploads do.

    Args:
        seconds: that a call may take; one that asks to wait for a job may wait for so long before.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def around(self, call: Call) -> AbstractAsyncContextManager[object]:
        if call.streams or call.context.time_remaining() is not None:
            return nullcontext()
        return _ending_after(self._seconds + _wanted_wait(call.request))


@asynccontextmanager
async def _ending_after(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        way_out = "set one that suits it, and retry with the same request id"
        said = f"the call had no deadline, and the server ends such calls after {seconds:g} s; {way_out}"
        raise DeadlineExceeded(said) from None


def _wanted_wait(request: object) -> float:
    """Return the seconds for which a call asks to be kept waiting."""
    return (
        request.wait.ToTimedelta().total_seconds() if isinstance(request, LeaseJobRequest | LeaseJobsRequest) else 0.0
    )


class Abandoned(Exception):  # noqa: N818 - the name says what happened
    """Nobody waits for the work any more; it is undone."""


class Wanted:
    """Undoes a change whose caller has gone.

    A thread cannot be ended from outside: it looks before it begins, which may be long after it was asked to, and
    before it commits.
    """

    def __init__(self) -> None:
        self._gone = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is asyncio.CancelledError:
            self._gone.set()

    def still(self, change: Callable[[Session], Value]) -> Callable[[Session], Value]:
        """Return a change that raises `Abandoned` when nobody waits for it."""

        def checked(session: Session) -> Value:
            self._check()
            answer = change(session)
            self._check()
            return answer

        return checked

    def _check(self) -> None:
        if self._gone.is_set():
            raise Abandoned

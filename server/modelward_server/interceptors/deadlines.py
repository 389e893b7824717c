"""Deadlines for calls that arrive without one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from modelward.errors import DeadlineExceeded
from modelward.v1.retraining_pb2 import LeaseJobRequest, LeaseJobsRequest
from modelward_server.interceptors.base import Call, Interceptor


class Deadlines(Interceptor):
    """Sets a deadline for each unary call that arrives without one; streams such as watches and uploads get none.

    Args:
        seconds: the deadline; a call that waits for a job gets its waiting time in addition.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def around(self, call: Call) -> AbstractAsyncContextManager[object]:
        if call.is_streaming or call.context.time_remaining() is not None:
            return nullcontext()
        return _deadline(self._seconds + _requested_wait(call.request))


@asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        fix = "set a suitable one, and retry with the same request id"
        message = f"the call had no deadline, and the server ends such calls after {seconds:g} s; {fix}"
        raise DeadlineExceeded(message) from None


def _requested_wait(request: object) -> float:
    """Return the seconds for which a call requests to wait for a result."""
    return (
        request.wait.ToTimedelta().total_seconds() if isinstance(request, LeaseJobRequest | LeaseJobsRequest) else 0.0
    )

"""A deadline for calls that came without one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext

from modelward.errors import DeadlineExceeded
from modelward.v1.retraining_pb2 import LeaseJobRequest, LeaseJobsRequest
from modelward_server.interceptors.base import Call, Interceptor


class Deadlines(Interceptor):
    """Sets a deadline for each unary call that came without one; streams such as watches and uploads have none.

    Args:
        seconds: the deadline; a call that waits for a job has its waiting time in addition.
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

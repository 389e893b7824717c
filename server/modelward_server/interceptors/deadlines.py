"""Deadlines for calls that arrive without one."""

import asyncio
from typing import Any

from modelward.errors import DeadlineExceeded
from modelward.v1.retraining_pb2 import LeaseJobRequest, LeaseJobsRequest
from modelward_server.interceptors.base import Behavior, Call, Interceptor


class Deadlines(Interceptor):
    """Sets a deadline for each unary call that arrives without one; streams such as watches and uploads get none.

    Args:
        seconds: the deadline; a call that waits for a job gets its waiting time in addition.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def run(self, inner: Behavior, call: Call) -> Any:
        if call.is_streaming or call.context.time_remaining() is not None:
            return await inner(call)
        return await _in_time(inner, call, self._seconds + _requested_wait(call.request))


async def _in_time(inner: Behavior, call: Call, seconds: float) -> Any:
    try:
        async with asyncio.timeout(seconds) as limit:
            return await inner(call)
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

"""Conversion of exceptions into a gRPC status with details."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Never
from uuid import uuid4

import grpc
from grpc import aio

from modelward.errors import LimitReached, ModelwardError
from modelward_server.interceptors.base import Behavior, Call, Context, Interceptor
from modelward_server.interceptors.status import encode
from modelward_server.observability import log_context
from modelward_server.storage.file_errors import explain

log = logging.getLogger(__name__)

STATUS_DETAILS = "grpc-status-details-bin"
"""The trailing metadata in which gRPC carries a `google.rpc.Status`."""
INCIDENT = "the server failed; its log has the cause under incident {}"


class Errors(Interceptor):
    """Ends failed calls with the matching status; unexpected exceptions become `INTERNAL` and are logged."""

    def applies_to(self, method: str) -> bool:
        return True

    async def run(self, inner: Behavior, call: Call) -> Any:
        try:
            return await inner(call)
        except (aio.AbortError, aio.InternalError, GeneratorExit):
            raise  # gRPC's InternalError says that the client has gone, so that nothing can be sent to it.
        # Also BaseException: an extension's panic or SystemExit would leave the call, or the server, without a status.
        except BaseException as error:
            if is_call_cancelled(error):
                raise
            await _abort(call.context, call.method, error)


def is_call_cancelled(error: BaseException) -> bool:
    """Whether the call itself was cancelled, as gRPC does when its client has gone, and not a task inside it."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


async def _abort(context: Context, method: str, error: BaseException) -> Never:
    expected = _expected(error, method)
    if expected is None:
        incident = uuid4().hex[:12]
        log_context.note(incident=incident)
        log.error("%s failed unexpectedly, incident %s", method, incident, exc_info=error)
        drop_traceback(error)
        await context.abort(grpc.StatusCode.INTERNAL, INCIDENT.format(incident))
    status = encode(expected)
    drop_traceback(error)
    trailers = (*(context.trailing_metadata() or ()), (STATUS_DETAILS, status.SerializeToString()))
    await context.abort(expected.status, status.message, trailing_metadata=trailers)


def _expected(error: BaseException, method: str) -> ModelwardError | None:
    """Return the error to report to the client; None for an unexpected exception."""
    if isinstance(error, OSError) and (explained := explain(error)):
        log.error("%s could not use the server's files: %s", method, error)
        return explained
    if isinstance(error, MemoryError):  # Arrow's own memory error is a subclass.
        log.error("%s ran out of memory: %s", method, error)
        return LimitReached("the server lacks memory for this; request less at once, or retry later", limit="memory")
    return error if isinstance(error, ModelwardError) else None


def drop_traceback(error: BaseException | None) -> None:
    """Release the frames of a reported error: they hold the request until the garbage collector finds the cycle."""
    while error is not None:
        previous = error.__cause__ or error.__context__
        error.__traceback__ = error.__cause__ = error.__context__ = None
        error = previous

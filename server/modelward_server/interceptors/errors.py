"""What goes wrong in a call, as a status with details."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Never
from uuid import uuid4

import grpc
from grpc import aio

from modelward.errors import LimitReached, ModelwardError
from modelward_server.interceptors.base import Call, Context, Interceptor
from modelward_server.interceptors.status import encode
from modelward_server.observability import log_context
from modelward_server.storage.file_errors import explain

log = logging.getLogger(__name__)

STATUS_DETAILS = "grpc-status-details-bin"
"""The trailing metadata in which gRPC carries a `google.rpc.Status`."""
INCIDENT = "the server failed; its log says why under incident {}"


class Errors(Interceptor):
    """Ends calls that fail with the status that fits; what nobody foresaw is `INTERNAL`, and logged."""

    def is_for(self, method: str) -> bool:
        return True

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        try:
            yield
        except (aio.AbortError, GeneratorExit):
            raise
        # Also what is no Exception: an extension's panic and SystemExit would leave the call, or the server, without.
        except BaseException as error:
            if is_given_up(error):
                raise
            await _refuse(call.context, call.method, error)


def is_given_up(error: BaseException) -> bool:
    """Whether the call itself was cancelled, as gRPC does when its client has gone, and not something in it."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


async def _refuse(context: Context, method: str, error: BaseException) -> Never:
    known = _known(error, method)
    if known is None:
        incident = uuid4().hex[:12]
        log_context.note(incident=incident)
        log.error("%s failed unexpectedly, incident %s", method, incident, exc_info=error)
        forget(error)
        await context.abort(grpc.StatusCode.INTERNAL, INCIDENT.format(incident))
    status = encode(known)
    forget(error)
    trailers = (*(context.trailing_metadata() or ()), (STATUS_DETAILS, status.SerializeToString()))
    await context.abort(known.status, status.message, trailing_metadata=trailers)


def _known(error: BaseException, method: str) -> ModelwardError | None:
    """Return what a client is told; None of what nobody foresaw."""
    if isinstance(error, OSError) and (told := explain(error)):
        log.error("%s could not use the server's files: %s", method, error)
        return told
    if isinstance(error, MemoryError):  # Arrow's own error is one.
        log.error("%s found no memory: %s", method, error)
        return LimitReached("the server has no memory for this; ask for less at once, or later", limit="memory")
    return error if isinstance(error, ModelwardError) else None


def forget(error: BaseException | None) -> None:
    """Let go of the frames of an error that was told: they hold the request, until a collection finds the cycle."""
    while error is not None:
        before = error.__cause__ or error.__context__
        error.__traceback__ = error.__cause__ = error.__context__ = None
        error = before

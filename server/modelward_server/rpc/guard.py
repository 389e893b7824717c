"""The interceptor around every call: it checks what comes in and turns what goes wrong into a status with details."""

from __future__ import annotations

import errno
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Never, TypeAlias
from uuid import uuid4

import grpc
from google.protobuf.message import Message
from grpc import aio

from modelward.errors import LimitReached, ModelwardError, NotServed
from modelward_server.rpc.status import encode
from modelward_server.rpc.validation import check_message, reader

log = logging.getLogger(__name__)

OUR_METHODS = "/modelward."
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""No room on the disk, in a quota, or for a file of that size."""
STATUS_DETAILS = "grpc-status-details-bin"
"""The trailing metadata in which gRPC carries a `google.rpc.Status`."""

Context: TypeAlias = "aio.ServicerContext[Any, Any]"


class Guard(aio.ServerInterceptor):
    """Checks requests against the contract and encodes errors; other services' methods pass untouched."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        return _guarded(handler, method) if handler and method.startswith(OUR_METHODS) else handler


def _guarded(handler: grpc.RpcMethodHandler[Any, Any], method: str) -> grpc.RpcMethodHandler[Any, Any]:
    inner = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    checked = _checked_stream if handler.request_streaming else _checked
    guard = _guard_stream if handler.response_streaming else _guard_single
    behavior = guard(inner, checked, method)
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    assert handler.request_deserializer, "generated code gives one to every method"
    return make(behavior, reader(handler.request_deserializer), handler.response_serializer)


def _guard_single(inner: Any, checked: Any, method: str) -> Any:
    async def behavior(request: Any, context: Context) -> Message:
        try:
            _check_served(inner, method)
            answer: Message = await inner(checked(request), context)
            return answer
        except Exception as error:
            await _abort(context, error, method)

    return behavior


def _guard_stream(inner: Any, checked: Any, method: str) -> Any:
    async def behavior(request: Any, context: Context) -> AsyncIterator[Message]:
        try:
            _check_served(inner, method)
            async for answer in inner(checked(request), context):
                yield answer
        except Exception as error:
            await _abort(context, error, method)

    return behavior


def _check_served(inner: Any, method: str) -> None:
    # A generated base class answers the calls that a servicer lacks by methods that are not coroutines.
    if not (inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner)):
        name = method.rpartition("/")[2]
        raise NotServed(f"{name} is part of the contract, but this server does not serve it yet", method=name)


def _checked(request: Message) -> Message:
    check_message(request)
    return request


async def _checked_stream(requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
    async for request in requests:
        check_message(request)
        yield request


async def _abort(context: Context, error: Exception, method: str) -> Never:
    if isinstance(error, aio.AbortError):
        raise error
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        log.error("%s found no room on the disk: %s", method, error)
        error = LimitReached("the server's disk is full; make room there and ask again", limit="disk")
    if not isinstance(error, ModelwardError):
        incident = uuid4().hex[:12]
        log.exception("%s failed unexpectedly, incident %s", method, incident)
        await context.abort(grpc.StatusCode.INTERNAL, f"the server failed; its log says why under incident {incident}")
    status = encode(error)
    await context.abort(error.status, status.message, trailing_metadata=((STATUS_DETAILS, status.SerializeToString()),))

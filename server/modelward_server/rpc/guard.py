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
from modelward_server.observability import facts
from modelward_server.rpc.around import OUR_METHODS, Context
from modelward_server.rpc.status import encode
from modelward_server.rpc.validation import check_message, reader
from modelward_server.security.authentication import Authentication, Visit
from modelward_server.security.permissions import permission_of

log = logging.getLogger(__name__)

HEALTH = "/grpc.health.v1.Health/"
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""No room on the disk, in a quota, or for a file of that size."""
STATUS_DETAILS = "grpc-status-details-bin"
"""The trailing metadata in which gRPC carries a `google.rpc.Status`."""

VisitOf: TypeAlias = Callable[[Context], Visit | None]


class Guard(aio.ServerInterceptor):
    """Checks requests against the contract and encodes errors; other services' methods pass untouched.

    Args:
        authentication: who may call, other services but health too; None: everybody.
    """

    def __init__(self, authentication: Authentication | None = None) -> None:
        self._authentication = authentication

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        ours = method.startswith(OUR_METHODS) or (self._authentication and not method.startswith(HEALTH))
        return _guarded(handler, method, self._authentication) if handler and ours else handler


def _guarded(
    handler: grpc.RpcMethodHandler[Any, Any], method: str, authentication: Authentication | None
) -> grpc.RpcMethodHandler[Any, Any]:
    inner = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    checked = _checked_stream if handler.request_streaming else _checked
    guard = _guard_stream if handler.response_streaming else _guard_single
    permission = permission_of(method)

    def visit(context: Context) -> Visit | None:
        return Visit(authentication, permission, context) if authentication else None

    behavior = guard(inner, checked, method, visit)
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    assert handler.request_deserializer, "generated code gives one to every method"
    return make(behavior, reader(handler.request_deserializer), handler.response_serializer)


def _guard_single(inner: Any, checked: Any, method: str, visit_of: VisitOf) -> Any:
    async def behavior(request: Any, context: Context) -> Message:
        try:
            visit = await _begun(inner, method, visit_of(context))
            answer: Message = await inner(await checked(request, visit), context)
            return visit.only_own(answer) if visit else answer
        except Exception as error:
            await _abort(context, error, method)

    return behavior


def _guard_stream(inner: Any, checked: Any, method: str, visit_of: VisitOf) -> Any:
    async def behavior(request: Any, context: Context) -> AsyncIterator[Message]:
        try:
            visit = await _begun(inner, method, visit_of(context))
            async for answer in inner(await checked(request, visit), context):
                shown = await visit.shown(answer) if visit else answer
                if shown is not None:
                    yield shown
        except Exception as error:
            await _abort(context, error, method)

    return behavior


async def _begun(inner: Any, method: str, visit: Visit | None) -> Visit | None:
    if visit:
        await visit.begin()
    _check_served(inner, method)
    return visit


def _check_served(inner: Any, method: str) -> None:
    # A generated base class answers the calls that a servicer lacks by methods that are not coroutines.
    if not (inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner)):
        name = method.rpartition("/")[2]
        raise NotServed(f"{name} is part of the contract, but this server does not serve it yet", method=name)


async def _checked(request: Message, visit: Visit | None) -> Message:
    check_message(request)
    if visit:
        await visit.check(request)
    return request


async def _checked_stream(requests: AsyncIterator[Message], visit: Visit | None) -> AsyncIterator[Message]:
    async def checked() -> AsyncIterator[Message]:
        first = True
        async for request in requests:
            check_message(request)
            if visit:
                await visit.check(request, first=first)
            first = False
            yield request

    return checked()


async def _abort(context: Context, error: Exception, method: str) -> Never:
    if isinstance(error, aio.AbortError):
        raise error
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        log.error("%s found no room on the disk: %s", method, error)
        error = LimitReached("the server's disk is full; make room there and ask again", limit="disk")
    if not isinstance(error, ModelwardError):
        incident = uuid4().hex[:12]
        facts.note(incident=incident)
        log.exception("%s failed unexpectedly, incident %s", method, incident)
        await context.abort(grpc.StatusCode.INTERNAL, f"the server failed; its log says why under incident {incident}")
    status = encode(error)
    trailers = (*(context.trailing_metadata() or ()), (STATUS_DETAILS, status.SerializeToString()))
    await context.abort(error.status, status.message, trailing_metadata=trailers)

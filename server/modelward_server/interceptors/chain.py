"""The interceptor that gRPC runs: it runs ours, and ends every call with a status whatever fails in them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeAlias
from uuid import uuid4

import grpc
from grpc import aio

from modelward.errors import NotServed
from modelward_server.interceptors.base import Behavior, Call, Context, Interceptor, Method
from modelward_server.interceptors.errors import INCIDENT, drop_traceback, is_call_cancelled
from modelward_server.interceptors.unread import unread_limit

log = logging.getLogger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class Chain(aio.ServerInterceptor):
    """Runs each call through interceptors.

    gRPC reads and parses the message of a unary call before any code of ours runs, and it sends no status when a
    handler raises `CancelledError` or another `BaseException`, or when its own logging raises. So every method is
    registered with it as one that takes a stream of bytes, and no exception is ever raised into it.

    Args:
        interceptors: outermost first.
    """

    def __init__(self, interceptors: Sequence[Interceptor]) -> None:
        self._interceptors = interceptors
        self._handlers: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        name = handler_call_details.method
        if name not in self._handlers:
            served = await continuation(handler_call_details)
            if served is None:
                return None  # Not cached: clients may request any number of methods that do not exist.
            self._handlers[name] = self._handler(name, served)
        return self._handlers[name]

    def _handler(self, name: str, served: Any) -> Handler:
        method = Method(name, served.request_streaming, served.response_streaming, served.request_deserializer)
        behavior = _innermost(served, name)
        for interceptor in reversed(self._interceptors):
            if interceptor.applies_to(name):
                behavior = interceptor.wrap(behavior)
        if served.response_streaming:
            # A servicer that is no generator writes its responses itself, as the health service's Watch does.
            sends = inspect.isasyncgenfunction(served.unary_stream or served.stream_stream)
            handler = _stream_handler(behavior, method, sends=sends)
            return grpc.stream_stream_rpc_method_handler(handler, None, served.response_serializer)
        return grpc.stream_unary_rpc_method_handler(_unary_handler(behavior, method, served.response_serializer))


def _innermost(served: Any, name: str) -> Behavior:
    """Return the behavior that calls the servicer."""
    inner = served.unary_unary or served.unary_stream or served.stream_unary or served.stream_stream

    async def stream(call: Call) -> None:
        assert call.send is not None
        async with unread_limit(call.send) as limit, aclosing(inner(call.request, call.context)) as answers:
            async for answer in answers:
                await limit.send(answer)

    async def single(call: Call) -> Any:
        return await inner(call.request, call.context)

    async def not_served(_call: Call) -> Any:
        method = name.rpartition("/")[2]
        raise NotServed(f"{method} is part of the contract, but this server does not serve it yet", method=method)

    if inspect.isasyncgenfunction(inner):
        return stream
    # A generated base class implements the methods that a servicer lacks by functions that are not coroutines.
    return single if inspect.iscoroutinefunction(inner) else not_served


def _unary_handler(inner: Behavior, method: Method, serialize: Callable[[Any], bytes]) -> Any:
    async def behavior(_requests: object, context: Context) -> bytes:
        try:
            return serialize(await inner(Call(method, context)))
        except GeneratorExit:
            raise
        except BaseException as error:
            await _abort(context, method.name, error)
        return b""  # gRPC sees that the call has ended.

    return behavior


def _stream_handler(inner: Behavior, method: Method, *, sends: bool) -> Any:
    async def behavior(_requests: object, context: Context) -> None:
        try:
            await inner(Call(method, context, send=context.write if sends else None))
        except GeneratorExit:
            raise
        except BaseException as error:
            await _abort(context, method.name, error)

    return behavior


async def _abort(context: Context, method: str, error: BaseException) -> None:
    """Send a status if none was sent, without anything that may have failed before: no details, no trailers."""
    if not context.done():
        incident = uuid4().hex[:12]
        with suppress(Exception):
            _log(error, method, incident)
        with suppress(Exception):  # The client has gone, or nothing more can be sent.
            context.set_trailing_metadata(())
            code = grpc.StatusCode.CANCELLED if is_call_cancelled(error) else grpc.StatusCode.INTERNAL
            await context.abort(code, INCIDENT.format(incident))
    drop_traceback(error)


def _log(error: BaseException, method: str, incident: str) -> None:
    if not isinstance(error, asyncio.CancelledError | aio.AbortError):
        log.error("%s failed outside the error interceptor, incident %s", method, incident, exc_info=error)

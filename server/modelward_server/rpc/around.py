"""How an interceptor puts something around the calls of our services, whether they stream or not."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeAlias

import grpc
from grpc import aio

OUR_METHODS = "/modelward."
CODES = {code.value[0]: code.name for code in grpc.StatusCode}

Context: TypeAlias = "aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclass(frozen=True)
class Call:
    """One call that has come in."""

    method: str
    """As `/modelward.v1.LifecycleService/GetModel`."""
    streams: bool
    """Whether its requests or its answers are a stream."""
    request: Any
    """The message, or the iterator over a stream of them."""
    context: Context


class Around(aio.ServerInterceptor):
    """Runs each call of our services inside a context manager."""

    @abstractmethod
    def around(self, call: Call) -> AbstractAsyncContextManager[object]:
        """Return what a call runs in."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        return self._surrounded(handler, method) if handler and method.startswith(OUR_METHODS) else handler

    def _surrounded(self, handler: Any, method: str) -> Handler:
        asks = "stream" if handler.request_streaming else "unary"
        answers = "stream" if handler.response_streaming else "unary"
        inner = getattr(handler, f"{asks}_{answers}")
        if not (inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner)):
            return handler  # type: ignore[no-any-return]  # It is not served; the guard says so.
        streams = "stream" in {asks, answers}
        surround = self._stream if handler.response_streaming else self._single
        make: Callable[..., Handler] = getattr(grpc, f"{asks}_{answers}_rpc_method_handler")
        return make(surround(inner, method, streams), handler.request_deserializer, handler.response_serializer)

    def _single(self, inner: Any, method: str, streams: bool) -> Any:
        async def behavior(request: Any, context: Context) -> Any:
            async with self.around(Call(method, streams, request, context)):
                return await inner(request, context)

        return behavior

    def _stream(self, inner: Any, method: str, streams: bool) -> Any:
        async def behavior(request: Any, context: Context) -> AsyncIterator[Any]:
            async with self.around(Call(method, streams, request, context)):
                async for answer in inner(request, context):
                    yield answer

        return behavior


@contextmanager
def timed(
    context: Context, told: Callable[[str, float], None], given_up: Callable[[Context], str] = lambda _: "CANCELLED"
) -> Iterator[None]:
    """Tell the status of a call and its seconds when it has ended, however that came.

    Args:
        given_up: names the status of a call that neither answered nor failed.
    """
    begun, status = perf_counter(), given_up
    try:
        yield
        status = _status
    except (aio.AbortError, Exception):
        status = _status
        raise
    finally:
        told(status(context), perf_counter() - begun)


def _status(context: Context) -> str:
    """Name a status, which gRPC gives as itself, as its number, or as nothing when all is well."""
    code = context.code() or 0
    return code.name if isinstance(code, grpc.StatusCode) else CODES.get(code, "UNKNOWN")

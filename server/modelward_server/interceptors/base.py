"""What interceptors are made of: a call, and something that runs around it."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from grpc import aio

if TYPE_CHECKING:
    from modelward_server.security.authentication import Visit

OUR_METHODS = "/modelward."

Context: TypeAlias = "aio.ServicerContext[Any, Any]"
Behavior: TypeAlias = "Callable[[Call], Any]"
"""A coroutine function that returns the answer, or an async generator function where answers are a stream."""


@dataclass(frozen=True)
class Method:
    """One method that the server serves."""

    name: str
    """As `/modelward.v1.LifecycleService/GetModel`."""
    request_streaming: bool
    response_streaming: bool
    parse: Callable[[bytes], Any]
    """Reads a request; raises `DecodeError`."""


@dataclass
class Call:
    """One call that has come in."""

    served: Method
    context: Context
    request: Any = None
    """The message, or the iterator over a stream of them; None until the call may be made and it was read."""
    visit: Visit | None = None
    """Who calls, once that is known; None where the server asks nobody."""

    @property
    def method(self) -> str:
        return self.served.name

    @property
    def streams(self) -> bool:
        """Whether its requests or its answers are a stream."""
        return self.served.request_streaming or self.served.response_streaming


class Interceptor(ABC):
    """Runs each call inside a context manager."""

    def is_for(self, method: str) -> bool:
        """Whether it has to do with a method; most have with those of our services."""
        return method.startswith(OUR_METHODS)

    @abstractmethod
    def around(self, call: Call) -> AbstractAsyncContextManager[object]:
        """Return what a call runs in."""

    def wrap(self, inner: Behavior) -> Behavior:
        """Return a behavior with this interceptor around it."""
        return self._stream(inner) if inspect.isasyncgenfunction(inner) else self._single(inner)

    def _single(self, inner: Behavior) -> Behavior:
        async def behavior(call: Call) -> Any:
            async with self.around(call):
                return await inner(call)

        return behavior

    def _stream(self, inner: Behavior) -> Behavior:
        async def behavior(call: Call) -> AsyncIterator[Any]:
            async with self.around(call), aclosing(inner(call)) as answers:
                async for answer in answers:
                    yield answer

        return behavior

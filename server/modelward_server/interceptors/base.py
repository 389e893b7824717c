"""Base types of interceptors: a call, and a class that runs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from grpc import aio

if TYPE_CHECKING:
    from modelward_server.security.authentication import CallAuthorization

OUR_METHODS = ("/modelward.", "/inference.")
"""What the names of our services begin with; the second is the Open Inference Protocol's."""

Context: TypeAlias = "aio.ServicerContext[Any, Any]"
Behavior: TypeAlias = "Callable[[Call], Any]"
"""A coroutine function that returns the response; streamed responses are sent with `Call.send` instead."""

Send: TypeAlias = "Callable[[Any], Awaitable[None]]"


@dataclass(frozen=True)
class Method:
    """A method that the server serves."""

    name: str
    """Such as `/modelward.v1.LifecycleService/GetModel`."""
    request_streaming: bool
    response_streaming: bool
    parse: Callable[[bytes], Any]
    """Parses a request; raises `DecodeError`."""


@dataclass
class Call:
    """A call that the server received."""

    served: Method
    context: Context
    request: Any = None
    """The message, or the iterator over a stream of them; None until the call is authorized and was read."""
    send: Send | None = None
    """Sends a streamed response; None where the response is returned, or the servicer writes to the context."""
    authorization: CallAuthorization | None = None
    """The client's identity and permissions once known; None where the server does not authenticate."""

    @property
    def method(self) -> str:
        return self.served.name

    @property
    def is_streaming(self) -> bool:
        """Whether its requests or its responses are a stream."""
        return self.served.request_streaming or self.served.response_streaming


class Interceptor(ABC):
    """Runs each call, with code of its own before and after."""

    def applies_to(self, method: str) -> bool:
        """Whether it applies to a method; by default to those of our services."""
        return method.startswith(OUR_METHODS)

    @abstractmethod
    async def run(self, inner: Behavior, call: Call) -> Any:
        """Run a call and return its response; `inner` is what runs inside this interceptor."""

    def wrap(self, inner: Behavior) -> Behavior:
        """Return a behavior that runs inside this interceptor."""
        return lambda call: self.run(inner, call)

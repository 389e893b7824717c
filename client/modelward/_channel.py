"""The channel of a client, and the stubs on it."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import grpc
from grpc import aio

from modelward.errors import FailedPrecondition
from modelward.shared.retry import client_closed


class Channel:
    """A channel of threads, opened at once.

    Args:
        connect: opens the channel.
    """

    def __init__(self, connect: Callable[[], grpc.Channel]) -> None:
        self._channel = connect()
        self._stubs: dict[object, Any] = {}
        self._lock = threading.Lock()
        self.closed = False

    def stub(self, kind: Callable[[Any], object]) -> Any:
        """Return the stub of a service.

        Raises:
            FailedPrecondition: the client is closed.
        """
        stub = self._stubs.get(kind)
        return self._new_stub(kind) if stub is None else stub

    def _new_stub(self, kind: Callable[[Any], object]) -> Any:
        with self._lock:  # gRPC crashes the process when a stub is created on a closed channel.
            if self.closed:
                raise client_closed()
            return self._stubs.setdefault(kind, kind(self._channel))

    def close(self) -> None:
        """Close the channel; calls in progress fail."""
        with self._lock:
            self.closed = True
            self._channel.close()


class AsyncChannel:
    """A channel of the event loop that uses it first, opened then, because gRPC binds it to that loop.

    When the loop has been closed, as after `asyncio.run`, the next one gets a channel of its own.

    Args:
        connect: opens the channel.
    """

    def __init__(self, connect: Callable[[], aio.Channel]) -> None:
        self._connect = connect
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: aio.Channel | None = None
        self._stubs: dict[object, Any] = {}
        self.closed = False

    def stub(self, kind: Callable[[Any], object]) -> Any:
        """Return the stub of a service for the running event loop.

        Raises:
            FailedPrecondition: the client is closed, or another event loop is using it.
        """
        if self.closed:
            raise client_closed()
        if asyncio.get_running_loop() is not self._loop:
            self._bind(asyncio.get_running_loop())
        if kind not in self._stubs:
            self._stubs[kind] = kind(self._channel)
        return self._stubs[kind]

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        self._check_unused()
        self._loop, self._channel, self._stubs = loop, self._connect(), {}

    def _check_unused(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            raise FailedPrecondition("another event loop is using this client; create an AsyncClient for each loop")

    async def close(self) -> None:
        """Close the channel; calls in progress fail. A channel of a closed loop has no calls, and is released.

        Raises:
            FailedPrecondition: another event loop is using the client.
        """
        if self._loop is asyncio.get_running_loop() and self._channel is not None:
            self.closed = True
            await self._channel.close()
        elif not self.closed:
            self._check_unused()
            self.closed, self._channel, self._stubs = True, None, {}

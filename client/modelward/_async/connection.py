"""The channel to the server: deadlines, retries, errors."""

from __future__ import annotations

import asyncio
import getpass
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc import aio

from modelward._addresses import channel_target
from modelward._credentials import check_token_travels_safely
from modelward._telemetry import call_span, trace_headers
from modelward._wire import ACTOR_HEADER, Attempts, error_of, name_request
from modelward.errors import ModelwardError
from modelward.v1.comparison_pb2_grpc import ComparisonServiceStub
from modelward.v1.drift_pb2_grpc import DriftServiceStub
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward.v1.retraining_pb2_grpc import RetrainingServiceStub

if TYPE_CHECKING:  # The types of asynchronous stubs exist for type checkers only.
    from modelward.v1.comparison_pb2_grpc import ComparisonServiceAsyncStub
    from modelward.v1.drift_pb2_grpc import DriftServiceAsyncStub
    from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceAsyncStub
    from modelward.v1.retraining_pb2_grpc import RetrainingServiceAsyncStub


DEFAULT_TARGET = "localhost:50061"
DEFAULT_TIMEOUT_SECONDS = 30.0

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class AsyncConnection:
    """A connection to a Modelward server or to several of one database, and the ways to call them.

    Args:
        target: the server, as `host:port`; several with commas, as `models-1:50061,models-2:50061`. Calls take turns
            at those that answer, and what breaks off goes on at another.
        timeout: seconds that one call may take with all its attempts, where the call does not say otherwise.
        actor: who acts, for the record; the login name when it is left out.
        credentials: for TLS; without them the connection is not encrypted.
        token: a token or JWT that proves who calls, or what gives one anew for each call.

    Raises:
        ValueError: a token would be sent unencrypted over a network.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        actor: str | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | Callable[[], str] | None = None,
    ) -> None:
        check_token_travels_safely(target, credentials, token)
        place, spread = channel_target(target)
        options = [
            *spread,
            ("grpc.max_receive_message_length", -1),
            # A watch may be silent for hours: pings tell a quiet server from a dead one.
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 5_000),
        ]
        if credentials is None:
            self._channel = aio.insecure_channel(place, options=options)
        else:
            self._channel = aio.secure_channel(place, credentials, options=options)
        self.target = target
        self._timeout = timeout
        self._credentials = credentials
        self.actor = actor or getpass.getuser()
        self._token = token
        self._lifecycle: LifecycleServiceAsyncStub = LifecycleServiceStub(self._channel)
        self._drift: DriftServiceAsyncStub = DriftServiceStub(self._channel)
        self._comparison: ComparisonServiceAsyncStub = ComparisonServiceStub(self._channel)
        self._retraining: RetrainingServiceAsyncStub = RetrainingServiceStub(self._channel)

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = self._token() if callable(self._token) else self._token
        proof = (("authorization", f"Bearer {token}"),) if token else ()
        return ((ACTOR_HEADER, self.actor), *proof, *trace_headers())

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(
        self,
        method: aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout: float | None = None,
    ) -> Response:
        """Call once, and again with the same request id while the server is away."""
        name_request(request)
        attempts = Attempts(self._timeout if timeout is None else timeout)
        with call_span(request):
            while True:
                try:
                    return await method(request, timeout=attempts.remaining(), metadata=self._metadata)
                except grpc.RpcError as error:
                    pause = attempts.pause_before_next(error_of(error))
                await asyncio.sleep(pause)

    async def _pages(
        self, method: aio.UnaryUnaryMultiCallable[Request, Response], request: Request
    ) -> AsyncIterator[Response]:
        """Call until the server has no further page, and give each page."""
        asked: Any = request
        while True:
            page: Any = await self._call(method, request)
            yield page
            if not page.next_page_token:
                return
            asked.page_token = page.next_page_token

    async def _send(
        self,
        method: aio.StreamUnaryMultiCallable[Request, Response],
        requests: Callable[[], Iterable[Request]],
        timeout: float | None = None,
    ) -> Response:
        """Send a stream; `requests` gives it anew for each attempt."""
        attempts = Attempts(self._timeout if timeout is None else timeout)
        while True:
            try:
                return await self._send_once(method, requests(), attempts)
            except ModelwardError as error:
                pause = attempts.pause_before_next(error)
            await asyncio.sleep(pause)

    async def _exchange(
        self,
        method: aio.StreamStreamMultiCallable[Request, Response],
        requests: Sequence[Request],
        timeout: float | None = None,
    ) -> list[Response]:
        """Send all of a stream and receive all that comes back; the server must take what it knows only once."""
        attempts = Attempts(self._timeout if timeout is None else timeout)
        while True:
            try:
                call = method(iter(requests), timeout=attempts.remaining(), metadata=self._metadata)
                received = []
                async for response in call:
                    received.append(response)
                return received
            except grpc.RpcError as error:
                pause = attempts.pause_before_next(error_of(error))
            await asyncio.sleep(pause)

    async def _send_once(
        self, method: aio.StreamUnaryMultiCallable[Request, Response], requests: Iterable[Request], attempts: Attempts
    ) -> Response:
        try:
            return await method(iter(requests), timeout=attempts.remaining(), metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_of(error) from None

    async def _receive(
        self,
        method: aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        timeout: float | None = None,
    ) -> AsyncIterator[Response]:
        """Receive a stream. What was received is not asked for again, so a break ends it with an error.

        An infinite timeout is none.
        """
        name_request(request)
        seconds = self._timeout if timeout is None else timeout
        call = method(request, timeout=seconds if seconds < math.inf else None, metadata=self._metadata)
        try:
            async for response in call:
                yield response
        except grpc.RpcError as error:
            raise error_of(error) from None
        finally:
            call.cancel()

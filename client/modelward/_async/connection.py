"""The channel to the server: deadlines, retries, errors."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc import aio

from modelward._contact import Contact
from modelward._credentials import check_token_travels_safely, login_name
from modelward._silence import AsyncSilence
from modelward._telemetry import call_span, trace_headers
from modelward.errors import ModelwardError
from modelward.shared.retry import (
    CALL_ERRORS,
    Attempts,
    Outgoing,
    actor_header,
    check_header,
    client_closed,
    endless,
    failure_of,
    name_request,
    read,
)
from modelward.shared.targets import channel_target
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
MAX_MESSAGE_BYTES = 512 << 20
"""The largest answer that is taken; the longest of honest ones have a few megabytes."""
MAX_EXCHANGED_BYTES = 256 << 20
"""The most that all answers of one exchange may have together, which are kept until it ends."""
ANSWER_BYTES = 1 << 10
"""What each of them counts for beside its own bytes, so that empty ones have an end too."""

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
        InvalidField: an argument is not what it should be, or a token would be sent unencrypted over a network.
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
        self.actor = actor or login_name()
        self._actor_header = actor_header(self.actor)
        options = [
            *spread,
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # A watch may be silent for hours: pings, and as many as it takes, tell a quiet server from a dead one.
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.http2.ping_timeout_ms", 10_000),  # The one that counts; by default it is a minute.
            ("grpc.http2.max_pings_without_data", 0),
        ]
        if credentials is None:
            self._channel = aio.insecure_channel(place, options=options)
        else:
            self._channel = aio.secure_channel(place, credentials, options=options)
        self.target = target
        self._timeout = timeout
        self._credentials = credentials
        self._token = token
        self._closed = False
        self._contact = Contact(target, encrypted=credentials is not None)
        self._lifecycle: LifecycleServiceAsyncStub = LifecycleServiceStub(self._channel)
        self._drift: DriftServiceAsyncStub = DriftServiceStub(self._channel)
        self._comparison: ComparisonServiceAsyncStub = ComparisonServiceStub(self._channel)
        self._retraining: RetrainingServiceAsyncStub = RetrainingServiceStub(self._channel)

    @property
    def _metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        token = self._token() if callable(self._token) else self._token
        check_header("token", token or "")
        proof = (("authorization", f"Bearer {token}"),) if token else ()
        return (self._actor_header, *proof, *trace_headers())

    async def close(self) -> None:
        """Close the connection; calls in flight, and all after them, raise `FailedPrecondition`."""
        self._closed = True
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise client_closed()

    def _read(self, answer: Response | None) -> Response:
        self._contact.made()
        return read(answer)

    def _failure(self, error: BaseException, silence: float = 0.0) -> ModelwardError:
        """Turn what ended a call into our error; see `failure_of`."""
        return self._contact.explained(failure_of(error, closed=self._closed, silence=silence), error)

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
                self._check_open()
                metadata = self._metadata
                try:
                    return self._read(await method(request, timeout=attempts.remaining(), metadata=metadata))
                except CALL_ERRORS as error:
                    pause = attempts.pause_before_next(self._failure(error))
                await asyncio.sleep(pause)

    async def _pages(
        self, method: aio.UnaryUnaryMultiCallable[Request, Response], request: Request
    ) -> AsyncIterator[Response]:
        """Call until the server has no further page, and give each page."""
        asked: Any = request
        attempts = Attempts(math.inf, patience=self._timeout)
        while True:
            page: Any = await self._call(method, request)
            yield page
            if not page.next_page_token:
                return
            asked.page_token = page.next_page_token
            if len(page.ListFields()) > 1:
                attempts.progressed()
            attempts.check_patience()

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
        """Send all of a stream and receive all that comes back; the server must take what it knows only once.

        Raises:
            UnexpectedError: the answers have no end.
        """
        attempts = Attempts(self._timeout if timeout is None else timeout)
        while True:
            self._check_open()
            metadata = self._metadata
            try:
                call = method(iter(requests), timeout=attempts.remaining(), metadata=metadata)
                received, size = [], 0
                async for response in call:
                    received.append(self._read(response))
                    size += response.ByteSize() + ANSWER_BYTES
                    if size > MAX_EXCHANGED_BYTES:
                        call.cancel()
                        raise endless(MAX_EXCHANGED_BYTES)
                return received
            except CALL_ERRORS as error:
                pause = attempts.pause_before_next(self._failure(error))
            await asyncio.sleep(pause)

    async def _send_once(
        self, method: aio.StreamUnaryMultiCallable[Request, Response], requests: Iterable[Request], attempts: Attempts
    ) -> Response:
        self._check_open()
        metadata, outgoing = self._metadata, Outgoing(requests)
        try:
            call = method(outgoing, timeout=attempts.remaining(), metadata=metadata)
            with AsyncSilence(call.cancel, self._timeout) as outgoing.listening:
                return self._read(await call)
        except CALL_ERRORS as error:
            silence = outgoing.listening.expired if outgoing.listening else 0.0
            raise outgoing.failure or self._failure(error, silence) from None

    async def _receive(
        self,
        method: aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        timeout: float | None = None,
        silence: float = math.inf,
    ) -> AsyncGenerator[Response, None]:
        """Receive a stream. What was received is not asked for again, so a break ends it with an error.

        Args:
            timeout: seconds for the whole stream; an infinite one is none.
            silence: seconds for which the server may say nothing; without end where it has nothing to say, and then
                pings tell whether it is there.
        """
        name_request(request)
        self._check_open()
        seconds = self._timeout if timeout is None else timeout
        call = self._begin(method, request, seconds if seconds < math.inf else None)
        listening = AsyncSilence(call.cancel, silence)
        try:
            with listening:
                async for response in call:
                    listening.pause()
                    yield self._read(response)
                    listening.resume()
        except CALL_ERRORS as error:
            raise self._failure(error, listening.expired) from None
        finally:
            call.cancel()

    def _begin(
        self, method: aio.UnaryStreamMultiCallable[Request, Response], request: Request, seconds: float | None
    ) -> Any:
        """Begin a call that receives a stream; its type has no public name in both forms of gRPC."""
        metadata = self._metadata
        try:
            return method(request, timeout=seconds, metadata=metadata)
        except CALL_ERRORS as error:
            raise self._failure(error) from None

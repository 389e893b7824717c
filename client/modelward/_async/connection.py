"""The connection to the server: deadlines, retries, errors."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc import aio

from modelward._channel import AsyncChannel
from modelward._contact import Contact
from modelward._credentials import check_token_travels_safely
from modelward._method_names import name_methods
from modelward._silence import AsyncIdleTimeout
from modelward._telemetry import call_span, trace_headers
from modelward.errors import ModelwardError
from modelward.lifecycle import Page
from modelward.paging import AsyncPager
from modelward.shared.login import login_name
from modelward.shared.retry import (
    CALL_ERRORS,
    Attempts,
    RequestStream,
    actor_header,
    answers_too_large,
    check_header,
    client_closed,
    failure_of,
    read,
    set_request_id,
)
from modelward.shared.targets import channel_target

if TYPE_CHECKING:  # Stubs are imported with the first call of their service.
    from modelward.v1.comparison_pb2_grpc import ComparisonServiceAsyncStub
    from modelward.v1.drift_pb2_grpc import DriftServiceAsyncStub
    from modelward.v1.governance_pb2_grpc import GovernanceServiceAsyncStub
    from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceAsyncStub
    from modelward.v1.retraining_pb2_grpc import RetrainingServiceAsyncStub
    from modelward.v1.scoring_pb2_grpc import ScoringServiceAsyncStub


DEFAULT_TARGET = "localhost:50061"
DEFAULT_TIMEOUT_SECONDS = 30.0
MAX_MESSAGE_BYTES = 512 << 20
"""Maximum size of one answer; legitimate ones have at most a few megabytes."""
MAX_EXCHANGED_BYTES = 256 << 20
"""Maximum total size of the answers of one exchange, which are kept in memory until it ends."""
ANSWER_BYTES = 1 << 10
"""Minimum size attributed to each answer, so that a stream of empty ones is limited, too."""

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Item = TypeVar("Item")


class AsyncConnection:
    """A connection to one or several Modelward servers; `AsyncClient` documents the arguments.

    Attributes:
        target: the server's address, as given.
        actor: the actor in the audit log.
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
        address, target_options = channel_target(target)
        self.actor: str = actor or login_name()
        self._actor_header = actor_header(self.actor)
        options = [
            *target_options,
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # A watch may be idle for hours: an unlimited number of pings distinguishes a quiet server from a dead one.
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.http2.ping_timeout_ms", 10_000),  # The effective timeout; a minute by default.
            ("grpc.http2.max_pings_without_data", 0),
        ]

        def connect() -> aio.Channel:
            if credentials is None:
                return aio.insecure_channel(address, options=options)
            return aio.secure_channel(address, credentials, options=options)

        self._channel = AsyncChannel(connect)
        self.target = target
        self._timeout = timeout
        self._credentials = credentials
        self._token = token
        self._contact = Contact(target, encrypted=credentials is not None)

    @property
    def _lifecycle(self) -> LifecycleServiceAsyncStub:
        from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub

        stub: LifecycleServiceAsyncStub = self._channel.stub(LifecycleServiceStub)
        return stub

    @property
    def _drift(self) -> DriftServiceAsyncStub:
        from modelward.v1.drift_pb2_grpc import DriftServiceStub

        stub: DriftServiceAsyncStub = self._channel.stub(DriftServiceStub)
        return stub

    @property
    def _comparison(self) -> ComparisonServiceAsyncStub:
        from modelward.v1.comparison_pb2_grpc import ComparisonServiceStub

        stub: ComparisonServiceAsyncStub = self._channel.stub(ComparisonServiceStub)
        return stub

    @property
    def _retraining(self) -> RetrainingServiceAsyncStub:
        from modelward.v1.retraining_pb2_grpc import RetrainingServiceStub

        stub: RetrainingServiceAsyncStub = self._channel.stub(RetrainingServiceStub)
        return stub

    @property
    def _scoring(self) -> ScoringServiceAsyncStub:
        from modelward.v1.scoring_pb2_grpc import ScoringServiceStub

        stub: ScoringServiceAsyncStub = self._channel.stub(ScoringServiceStub)
        return stub

    @property
    def _governance(self) -> GovernanceServiceAsyncStub:
        from modelward.v1.governance_pb2_grpc import GovernanceServiceStub

        stub: GovernanceServiceAsyncStub = self._channel.stub(GovernanceServiceStub)
        return stub

    @property
    def _metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        token = self._token() if callable(self._token) else self._token
        check_header("token", token or "")
        proof = (("authorization", f"Bearer {token}"),) if token else ()
        return (self._actor_header, *proof, *trace_headers())

    async def close(self) -> None:
        """Close the connection; calls in progress and all later calls raise `FailedPrecondition`."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _check_open(self) -> None:
        if self._channel.closed:
            raise client_closed()

    def _read(self, answer: Response | None) -> Response:
        self._contact.made()
        return read(answer)

    def _failure(self, error: BaseException, idle_seconds: float = 0.0) -> ModelwardError:
        """Convert the exception that ended a call; see `failure_of`."""
        failure = failure_of(error, closed=self._channel.closed, idle_seconds=idle_seconds)
        return self._contact.explained(name_methods(failure), error)

    def _seconds(self, timeout: float | None) -> float:
        """Return the timeout of a call in seconds: its own, or that of the client."""
        return self._timeout if timeout is None else timeout

    async def _call(
        self,
        method: aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout: float | None = None,
    ) -> Response:
        """Make a unary call, and retry it with the same request id while the server is unavailable."""
        set_request_id(request)
        attempts = Attempts(self._seconds(timeout))
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
        """Yield the pages of a list from the request's token on, until the server returns no further one."""
        paged: Any = request
        attempts = Attempts(math.inf, patience=self._timeout)
        while True:
            page: Any = await self._call(method, request)
            yield page
            if not page.next_page_token:
                return
            paged.page_token = page.next_page_token
            if len(page.ListFields()) > 1:
                attempts.progressed()
            attempts.check_patience()

    def _list(
        self,
        method: aio.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        items: str,
        convert: Callable[[Any], Item],
    ) -> AsyncPager[Item]:
        """Return the list of a method.

        Args:
            items: the field of the method's answers that has the items of a page.
            convert: makes an item of its message.
        """

        async def pages(token: str, size: int) -> AsyncIterator[Page[Item]]:
            paged: Any = type(request)()
            paged.CopyFrom(request)
            paged.page_token = token
            paged.page_size = size or paged.page_size
            async for page in self._pages(method, paged):
                answer: Any = page
                yield Page(tuple(map(convert, getattr(answer, items))), answer.next_page_token)

        return AsyncPager(pages)

    async def _send(
        self,
        method: aio.StreamUnaryMultiCallable[Request, Response],
        requests: Callable[[], Iterable[Request]],
        timeout: float | None = None,
    ) -> Response:
        """Send a stream; `requests` creates it for each attempt."""
        attempts = Attempts(self._seconds(timeout))
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
        """Send a whole stream and receive all answers; the server must handle repeated requests idempotently.

        Raises:
            UnexpectedError: the answers exceed `MAX_EXCHANGED_BYTES`.
        """
        attempts = Attempts(self._seconds(timeout))
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
                        raise answers_too_large(MAX_EXCHANGED_BYTES)
                return received
            except CALL_ERRORS as error:
                pause = attempts.pause_before_next(self._failure(error))
            await asyncio.sleep(pause)

    async def _send_once(
        self, method: aio.StreamUnaryMultiCallable[Request, Response], requests: Iterable[Request], attempts: Attempts
    ) -> Response:
        self._check_open()
        metadata, outgoing = self._metadata, RequestStream(requests)
        try:
            call = method(outgoing, timeout=attempts.remaining(), metadata=metadata)
            with AsyncIdleTimeout(call.cancel, self._timeout) as outgoing.idle_timeout:
                return self._read(await call)
        except CALL_ERRORS as error:
            idle_seconds = outgoing.idle_timeout.expired if outgoing.idle_timeout else 0.0
            raise outgoing.failure or self._failure(error, idle_seconds) from None

    async def _receive(
        self,
        method: aio.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        timeout: float | None = None,
        idle_seconds: float = math.inf,
    ) -> AsyncGenerator[Response, None]:
        """Receive a stream. An interruption ends it with an error, because received messages are not requested again.

        Args:
            timeout: seconds for the whole stream; infinite for none.
            idle_seconds: seconds without any message; infinite where the server may have nothing to send, in which case
                pings detect its failure.
        """
        set_request_id(request)
        self._check_open()
        seconds = self._seconds(timeout)
        call = self._begin(method, request, seconds if seconds < math.inf else None)
        idle_timeout = AsyncIdleTimeout(call.cancel, idle_seconds)
        try:
            with idle_timeout:
                async for response in call:
                    idle_timeout.pause()
                    yield self._read(response)
                    idle_timeout.resume()
        except CALL_ERRORS as error:
            raise self._failure(error, idle_timeout.expired) from None
        finally:
            call.cancel()

    def _begin(
        self, method: aio.UnaryStreamMultiCallable[Request, Response], request: Request, seconds: float | None
    ) -> Any:
        """Start a call that receives a stream; its type has no public name common to both forms of gRPC."""
        metadata = self._metadata
        try:
            return method(request, timeout=seconds, metadata=metadata)
        except CALL_ERRORS as error:
            raise self._failure(error) from None

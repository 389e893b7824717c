# Derived from modelward/_async/connection.py by client/unasync.py: change that one.
"""The channel to the server: deadlines, retries, errors."""

from __future__ import annotations

import getpass
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message

from modelward._addresses import channel_target
from modelward._credentials import check_token_travels_safely
from modelward._telemetry import call_span, trace_headers
from modelward._wire import ACTOR_HEADER, Attempts, error_of, name_request
from modelward.errors import ModelwardError
from modelward.v1.comparison_pb2_grpc import ComparisonServiceStub
from modelward.v1.drift_pb2_grpc import DriftServiceStub
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward.v1.retraining_pb2_grpc import RetrainingServiceStub

DEFAULT_TARGET = "localhost:50061"
DEFAULT_TIMEOUT_SECONDS = 30.0

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class Connection:
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
            self._channel = grpc.insecure_channel(place, options=options)
        else:
            self._channel = grpc.secure_channel(place, credentials, options=options)
        self.target = target
        self._timeout = timeout
        self._credentials = credentials
        self.actor = actor or getpass.getuser()
        self._token = token
        self._lifecycle: LifecycleServiceStub = LifecycleServiceStub(self._channel)
        self._drift: DriftServiceStub = DriftServiceStub(self._channel)
        self._comparison: ComparisonServiceStub = ComparisonServiceStub(self._channel)
        self._retraining: RetrainingServiceStub = RetrainingServiceStub(self._channel)

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = self._token() if callable(self._token) else self._token
        proof = (("authorization", f"Bearer {token}"),) if token else ()
        return ((ACTOR_HEADER, self.actor), *proof, *trace_headers())

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(
        self,
        method: grpc.UnaryUnaryMultiCallable[Request, Response],
        request: Request,
        timeout: float | None = None,
    ) -> Response:
        """Call once, and again with the same request id while the server is away."""
        name_request(request)
        attempts = Attempts(self._timeout if timeout is None else timeout)
        with call_span(request):
            while True:
                try:
                    return method(request, timeout=attempts.remaining(), metadata=self._metadata)
                except grpc.RpcError as error:
                    pause = attempts.pause_before_next(error_of(error))
                time.sleep(pause)

    def _pages(self, method: grpc.UnaryUnaryMultiCallable[Request, Response], request: Request) -> Iterator[Response]:
        """Call until the server has no further page, and give each page."""
        asked: Any = request
        while True:
            page: Any = self._call(method, request)
            yield page
            if not page.next_page_token:
                return
            asked.page_token = page.next_page_token

    def _send(
        self,
        method: grpc.StreamUnaryMultiCallable[Request, Response],
        requests: Callable[[], Iterable[Request]],
        timeout: float | None = None,
    ) -> Response:
        """Send a stream; `requests` gives it anew for each attempt."""
        attempts = Attempts(self._timeout if timeout is None else timeout)
        while True:
            try:
                return self._send_once(method, requests(), attempts)
            except ModelwardError as error:
                pause = attempts.pause_before_next(error)
            time.sleep(pause)

    def _exchange(
        self,
        method: grpc.StreamStreamMultiCallable[Request, Response],
        requests: Sequence[Request],
        timeout: float | None = None,
    ) -> list[Response]:
        """Send all of a stream and receive all that comes back; the server must take what it knows only once."""
        attempts = Attempts(self._timeout if timeout is None else timeout)
        while True:
            try:
                call = method(iter(requests), timeout=attempts.remaining(), metadata=self._metadata)
                received = []
                for response in call:
                    received.append(response)
                return received
            except grpc.RpcError as error:
                pause = attempts.pause_before_next(error_of(error))
            time.sleep(pause)

    def _send_once(
        self, method: grpc.StreamUnaryMultiCallable[Request, Response], requests: Iterable[Request], attempts: Attempts
    ) -> Response:
        try:
            return method(iter(requests), timeout=attempts.remaining(), metadata=self._metadata)
        except grpc.RpcError as error:
            raise error_of(error) from None

    def _receive(
        self,
        method: grpc.UnaryStreamMultiCallable[Request, Response],
        request: Request,
        timeout: float | None = None,
    ) -> Iterator[Response]:
        """Receive a stream. What was received is not asked for again, so a break ends it with an error.

        An infinite timeout is none.
        """
        name_request(request)
        seconds = self._timeout if timeout is None else timeout
        call = method(request, timeout=seconds if seconds < math.inf else None, metadata=self._metadata)
        try:
            for response in call:
                yield response
        except grpc.RpcError as error:
            raise error_of(error) from None
        finally:
            call.cancel()

"""Call handling shared by both clients: request ids, retries and error conversion."""

import asyncio
import math
import random
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import aio

from modelward._contact import FIRST_CONTACT_SECONDS, Unreachable
from modelward._request_ids import new_request_id
from modelward._silence import IdleTimeout
from modelward.errors import (
    DOMAIN,
    Aborted,
    AlreadyExists,
    ConcurrentChange,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    GatesFailed,
    InvalidArgument,
    InvalidField,
    LimitReached,
    MessageTooLarge,
    ModelwardError,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    UnexpectedError,
    Unimplemented,
)
from modelward.lifecycle import GateResult

ACTOR_HEADER = "modelward-actor"
ACTOR_HEADER_UTF8 = "modelward-actor-bin"
"""The same header in UTF-8: the only kind of metadata in which gRPC sends characters beyond ASCII."""
STATUS_DETAILS = "grpc-status-details-bin"
SEND_SMALLER = (
    "send a large table in smaller batches, by URI, or as a stream (ScoreStream, SetReference, DetectDriftStream), "
    "and upload files first (UploadBlobs)"
)
"""The fix for a message that is too large."""
LOST_STATUS = "Internal error from Core"
"""The message of grpc.aio when a write meets the end of its call, losing the server's status (grpc issue 36066)."""
STATUS_LOST = "the call ended while data were being sent, and its status was lost"
TOO_LARGE = re.compile(r"message larger than max \((\d{1,19}) vs\. (\d{1,19})\)")
"""The message of gRPC itself when it rejects a message before the server sees it."""
FIRST_PAUSE_SECONDS = 0.01
"""Short, because another server may take the next attempt."""
MAX_PAUSE_SECONDS = 1.0
MAX_CALL_SECONDS = 86_400.0
"""The longest that one attempt at a call may take, whatever its timeout."""
MAX_RETRY_SECONDS = 60.0
"""The longest that a server can make a watch wait before the next attempt."""
CALL_ERRORS = (grpc.RpcError, aio.BaseError, ValueError, asyncio.CancelledError, grpc.FutureCancelledError)
"""The exceptions of a failed call: a `ValueError` or `aio.BaseError` when the channel was already closed, a
`CancelledError` or `FutureCancelledError` when it was closed or the call cancelled meanwhile.
"""

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response")

CATEGORIES = (
    InvalidArgument,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    Aborted,
    DataLoss,
    ResourceExhausted,
    Unavailable,
    OutOfRange,
    Unimplemented,
    Unauthenticated,
    PermissionDenied,
    DeadlineExceeded,
)
CLASS_OF_STATUS: dict[grpc.StatusCode, type[ModelwardError]] = {category.status: category for category in CATEGORIES}


def set_request_id(request: Message) -> None:
    """Set the request id of a mutation, which all of its attempts then share."""
    if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:  # type: ignore[attr-defined]
        request.request_id = new_request_id()  # type: ignore[attr-defined]


class Backoff:
    """Waiting times between attempts, exponentially longer.

    Args:
        first: about the first pause, in seconds.
        longest: about the longest pause, in seconds.
    """

    def __init__(self, first: float = FIRST_PAUSE_SECONDS, longest: float = MAX_PAUSE_SECONDS) -> None:
        self._first, self._longest = first, longest
        self.reset()

    def reset(self) -> None:
        self._next = self._first
        self._started = time.monotonic()

    def check_first_contact(self, error: ModelwardError) -> None:
        """Check that a server which has never answered may still be starting.

        Raises:
            Unreachable: `error`, when the attempts have gone on for long enough.
        """
        if isinstance(error, Unreachable) and time.monotonic() + self._next > self._started + FIRST_CONTACT_SECONDS:
            raise error from None

    def next(self) -> float:
        """Return the seconds to wait now."""
        pause = self._next * random.uniform(0.5, 1.5)  # noqa: S311 - spreads clients, hides nothing
        self._next = min(self._next * 2, self._longest)
        return pause


class Attempts:
    """Decides for how long one logical call is attempted.

    Args:
        timeout: seconds from now to the deadline of all attempts together.
        patience: seconds for which attempts may make no progress.
    """

    def __init__(self, timeout: float, patience: float = math.inf) -> None:
        if math.isnan(timeout):
            raise InvalidField(FieldViolation("timeout", "is NaN; give a number of seconds"))
        self._deadline = time.monotonic() + timeout
        self._patience = patience
        self._pauses = Backoff()
        self._failed: ModelwardError | None = None
        self.progressed()

    def progressed(self) -> None:
        """Record progress of the call: if it breaks now, patience starts again."""
        self._pauses.reset()
        self._end_of_patience = time.monotonic() + self._patience

    def remaining(self) -> float:
        """Return the seconds that are left for an attempt, at least a millisecond."""
        return min(max(self._deadline - time.monotonic(), 0.001), MAX_CALL_SECONDS)

    def check_patience(self) -> None:
        """Check that the call has made progress recently, for servers that answer without advancing it.

        Raises:
            DeadlineExceeded: it has not.
        """
        if time.monotonic() > min(self._deadline, self._end_of_patience):
            raise DeadlineExceeded("the server answers, but the call makes no progress")

    def pause_before_next(self, error: ModelwardError) -> float:
        """Return the seconds to wait before another attempt; only transient errors are retried.

        Raises:
            ModelwardError: `error`, when another attempt would not help or would come too late; an attempt that the
                deadline cut off is said with what the one before it failed on.
        """
        if isinstance(error, DeadlineExceeded) and self._failed is not None:
            error = DeadlineExceeded(f"{error.message}; the attempt before failed: {self._failed.message}")
        self._failed = error
        retry_after = error.retry_seconds if isinstance(error, LimitReached) else None
        self._pauses.check_first_contact(error)
        pause = self._pauses.next() + (retry_after or 0.0)
        late = time.monotonic() + pause > min(self._deadline, self._end_of_patience)
        if late or not (isinstance(error, Unavailable | ConcurrentChange) or retry_after is not None):
            raise error from None  # The gRPC exception adds no information.
        return pause


class RequestStream(Generic[Request]):
    """The requests of a stream: for how long the server has taken none, and what failed while producing them.

    gRPC reports neither.
    """

    def __init__(self, requests: Iterable[Request]) -> None:
        self._requests = iter(requests)
        self.failure: BaseException | None = None
        self.idle_timeout: IdleTimeout | None = None
        """Ends the call when the server takes no request for too long; not counted after the last request."""

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        try:
            request = next(self._requests)
        except BaseException as error:
            self._end(error)
            raise
        if self.idle_timeout:
            self.idle_timeout.resume()
        return request

    def _end(self, error: BaseException) -> None:
        if self.idle_timeout:
            self.idle_timeout.pause()
        if not isinstance(error, StopIteration):
            self.failure = error


def pause_before_watching(error: Unavailable | LimitReached, pauses: Backoff, *, started: bool) -> float:
    """Return the seconds to wait before a broken watch is reopened.

    Raises:
        LimitReached, Unreachable: `error`, when the watch has not started and waiting does not help.
    """
    pauses.check_first_contact(error)
    retry_after = error.retry_seconds if isinstance(error, LimitReached) else 0.0
    if retry_after is None and not started:
        raise error
    return min(retry_after or 0.0, MAX_RETRY_SECONDS) + pauses.next()


def client_closed() -> FailedPrecondition:
    """Return the error that every call of a closed client raises."""
    return FailedPrecondition("the client is closed; create a new one")


def answers_too_large(max_bytes: int) -> UnexpectedError:
    """Return the error for a stream of answers that exceeds `max_bytes`."""
    return UnexpectedError(f"the server's answers to one call exceed {max_bytes >> 20} MiB without an end")


def actor_header(actor: str) -> tuple[str, str | bytes]:
    """Return the header that names the actor.

    Raises:
        InvalidField: the name contains a character that is not printable.
    """
    if not actor.isprintable():
        fix = "contains a character that is not printable; give printable text"
        raise InvalidField(FieldViolation("actor", fix))
    return (ACTOR_HEADER, actor) if actor.isascii() else (ACTOR_HEADER_UTF8, actor.encode())


def actor_in(metadata: Mapping[str, str | bytes]) -> str:
    """Return the actor from a call's headers; empty when there is none."""
    sent = metadata.get(ACTOR_HEADER_UTF8) or metadata.get(ACTOR_HEADER) or ""
    return sent if isinstance(sent, str) else sent.decode(errors="replace")


def check_header(field: str, value: str) -> None:
    """Check the metadata that is sent with every call.

    Raises:
        InvalidField: gRPC would not send it.
    """
    if not (value.isascii() and value.isprintable()):
        raise InvalidField(
            FieldViolation(field, "contains a character that is not allowed in a header; give printable ASCII")
        )


def read(answer: Response | None) -> Response:
    """Return a server's answer, checked; gRPC returns None for bytes that are not a valid message, and logs it.

    Raises:
        UnexpectedError: the bytes are not a valid message.
    """
    if answer is None:
        raise UnexpectedError("the server's answer is not a message of the contract")
    return answer


def failure_of(error: BaseException, *, closed: bool, idle_seconds: float = 0.0) -> ModelwardError:
    """Convert the exception that ended a call into a Modelward error.

    Args:
        error: one of `CALL_ERRORS`.
        closed: whether the client was closed.
        idle_seconds: seconds without any message from the server when the call was ended for that reason; else 0.

    Raises:
        BaseException: `error`, when the caller itself was cancelled, or when it is not an exception of gRPC.
    """
    if isinstance(error, asyncio.CancelledError) and _caller_is_cancelled():
        raise error
    if idle_seconds:
        return DeadlineExceeded(f"the server sent nothing for {idle_seconds:g} s")
    if closed:
        return client_closed()
    if isinstance(error, grpc.RpcError):
        return error_of(error)
    if isinstance(error, aio.BaseError):
        return UnexpectedError(f"gRPC did not make the call: {error}")
    # gRPC also cancels an aio call whose deadline passes while it still writes a stream, and then reports no status.
    if isinstance(error, grpc.FutureCancelledError | asyncio.CancelledError):
        return Unavailable("the call was cancelled")
    raise error


def _caller_is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def error_of(error: grpc.RpcError) -> ModelwardError:
    """Convert a gRPC error into the error that the server raised."""
    call: Any = error
    status = _status(call.trailing_metadata() or ())
    info = _info(status)
    code = call.code() or grpc.StatusCode.UNKNOWN
    message = call.details() or code.name
    if code is grpc.StatusCode.INTERNAL and message == LOST_STATUS:
        # Another attempt will show the cause.
        return Unavailable(STATUS_LOST)
    if code is grpc.StatusCode.CANCELLED and info is None:
        # A caller that cancels itself sees no error.
        return Unavailable("the server ended the call, as it does during shutdown")
    if info is None and (sizes := TOO_LARGE.search(message)):
        return _too_large(*map(int, sizes.groups()))
    if info is None:
        return CLASS_OF_STATUS.get(code, UnexpectedError)(message)
    error_class = ModelwardError.by_reason.get(info.reason, CLASS_OF_STATUS.get(code, UnexpectedError))
    described = _described(error_class, status, message)
    described.metadata = dict(info.metadata)
    return described


def _too_large(size: int, limit: int) -> MessageTooLarge:
    text = f"the message has {size:,} bytes; the server accepts at most {limit:,}; {SEND_SMALLER}"
    return MessageTooLarge(text, size_bytes=size, limit_bytes=limit)


def _described(error_class: type[ModelwardError], status: Status, message: str) -> ModelwardError:
    """Create an error with the attributes of its class beside message and metadata."""
    if error_class is InvalidField:
        violations = [FieldViolation(v.field, v.description) for v in _detail(status, BadRequest()).field_violations]
        return InvalidField(*violations, message=message)
    if error_class is GatesFailed:
        failed = _detail(status, PreconditionFailure()).violations
        return GatesFailed(*(GateResult(v.type, False, v.description) for v in failed), message=message)
    if error_class is LimitReached:
        delay = _detail(status, RetryInfo()).retry_delay
        return LimitReached(message, max(delay.seconds + delay.nanos / 1e9, 0.0) or None)
    return error_class(message)


def _status(metadata: Iterable[tuple[str, str | bytes]]) -> Status:
    """Return the details that came with an error; empty when they cannot be parsed."""
    for key, value in metadata:
        if key == STATUS_DETAILS and isinstance(value, bytes):
            try:
                return Status.FromString(value)
            except DecodeError:
                break
    return Status()


def _info(status: Status) -> ErrorInfo | None:
    info = _detail(status, ErrorInfo())
    return info if info.domain == DOMAIN else None


def _detail(status: Status, empty: Any) -> Any:
    """Return the detail of a type, or the default where there is none that can be parsed."""
    for detail in status.details:
        try:
            detail.Unpack(empty)  # Unpack leaves the message unchanged when the detail is of another type.
        except DecodeError:
            empty.Clear()
    return empty

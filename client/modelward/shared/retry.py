"""What both clients do around a call: name it once, decide about another attempt, read what went wrong."""

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
from modelward._silence import Silence
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
"""The same in UTF-8, for names that have characters beyond ASCII: gRPC's clients send no other headers with them."""
STATUS_DETAILS = "grpc-status-details-bin"
SEND_SMALLER = (
    "send a large table in smaller batches, by URI, or as a stream (set_reference, detect_drift; SetReference, "
    "DetectDriftStream), and upload files first (UploadBlobs)"
)
"""What to do about a message that is too large."""
LOST_STATUS = "Internal error from Core"
"""What grpc.aio says when a write meets the end of its call; it forgets the server's status (grpc issue 36066)."""
TOO_LARGE = re.compile(r"message larger than max \((\d{1,19}) vs\. (\d{1,19})\)")
"""What gRPC itself says of a message that it refuses before the server sees it."""
FIRST_PAUSE_SECONDS = 0.01
"""So short because another server may take the next attempt."""
LONGEST_PAUSE_SECONDS = 1.0
MAX_CALL_SECONDS = 86_400.0
"""How long one attempt at a call may take, whatever timeout it is given."""
MAX_RETRY_SECONDS = 60.0
"""How long a server may tell a watch to wait before it asks again."""
CALL_ERRORS = (grpc.RpcError, aio.BaseError, ValueError, asyncio.CancelledError, grpc.FutureCancelledError)
"""What gRPC raises for a call that fails: a `ValueError` or `aio.BaseError` when the channel was closed before, a
`CancelledError` or `FutureCancelledError` when it was closed, or the call cancelled, meanwhile."""

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


def name_request(request: Message) -> None:
    """Give a request that changes something an id of its own, which every attempt at it then carries."""
    if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:  # type: ignore[attr-defined]
        request.request_id = new_request_id()  # type: ignore[attr-defined]


class Pauses:
    """How long to wait between attempts: hardly at all after the first, and then longer and longer."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        self._next = FIRST_PAUSE_SECONDS
        self._begun = time.monotonic()

    def check_first_contact(self, error: ModelwardError) -> None:
        """Check that a server which has never answered may still be about to.

        Raises:
            Unreachable: `error`, when it was tried for long enough.
        """
        if isinstance(error, Unreachable) and time.monotonic() + self._next > self._begun + FIRST_CONTACT_SECONDS:
            raise error from None

    def next(self) -> float:
        """Return the seconds to wait now."""
        pause = self._next * random.uniform(0.5, 1.5)  # noqa: S311 - spreads clients, hides nothing
        self._next = min(self._next * 2, LONGEST_PAUSE_SECONDS)
        return pause


class Attempts:
    """Decides how long one logical call goes on.

    Args:
        timeout: seconds from now to the deadline of all attempts together.
        patience: seconds for which attempts may get nowhere.
    """

    def __init__(self, timeout: float, patience: float = math.inf) -> None:
        if math.isnan(timeout):
            raise InvalidField(FieldViolation("timeout", "is NaN; give a number of seconds"))
        self._deadline = time.monotonic() + timeout
        self._patience = patience
        self._pauses = Pauses()
        self.progressed()

    def progressed(self) -> None:
        """Note that the call gets on: should it break now, patience begins anew."""
        self._pauses.begin_anew()
        self._end_of_patience = time.monotonic() + self._patience

    def remaining(self) -> float:
        """Return the seconds that are left for an attempt, never below a millisecond."""
        return min(max(self._deadline - time.monotonic(), 0.001), MAX_CALL_SECONDS)

    def check_patience(self) -> None:
        """Check that the call got on not too long ago, where answers come that bring nothing.

        Raises:
            DeadlineExceeded: it did not.
        """
        if time.monotonic() > min(self._deadline, self._end_of_patience):
            raise DeadlineExceeded("the server answers, but the call gets nowhere")

    def pause_before_next(self, error: ModelwardError) -> float:
        """Return the seconds to wait before another attempt; only what may pass by itself gets one.

        Raises:
            ModelwardError: `error`, when another attempt would not help or would come too late.
        """
        asked = error.retry_seconds if isinstance(error, LimitReached) else None
        self._pauses.check_first_contact(error)
        pause = self._pauses.next() + (asked or 0.0)
        late = time.monotonic() + pause > min(self._deadline, self._end_of_patience)
        if late or not (isinstance(error, Unavailable | ConcurrentChange) or asked is not None):
            raise error from None  # What gRPC raised says nothing more.
        return pause


class Outgoing(Generic[Request]):
    """The requests of a stream on their way: how long the server has taken none, and what went wrong with making them.

    gRPC tells neither.
    """

    def __init__(self, requests: Iterable[Request]) -> None:
        self._requests = iter(requests)
        self.failure: BaseException | None = None
        self.listening: Silence | None = None
        """What ends the call when the server takes nothing for too long; the work after the last is no silence."""

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        try:
            request = next(self._requests)
        except BaseException as error:
            self._end(error)
            raise
        if self.listening:
            self.listening.resume()
        return request

    def _end(self, error: BaseException) -> None:
        if self.listening:
            self.listening.pause()
        if not isinstance(error, StopIteration):
            self.failure = error


def pause_before_watching(error: Unavailable | LimitReached, pauses: Pauses, *, begun: bool) -> float:
    """Return the seconds to wait before a watch that broke off is opened again.

    Raises:
        LimitReached, Unreachable: `error`, when the watch has not begun and waiting does not help.
    """
    pauses.check_first_contact(error)
    asked = error.retry_seconds if isinstance(error, LimitReached) else 0.0
    if asked is None and not begun:
        raise error
    return min(asked or 0.0, MAX_RETRY_SECONDS) + pauses.next()


def client_closed() -> FailedPrecondition:
    """Return what every call of a closed client raises."""
    return FailedPrecondition("the client is closed; make a new one")


def endless(most: int) -> UnexpectedError:
    """Return what a stream of answers raises that goes on behind `most` bytes."""
    return UnexpectedError(f"the server's answers to one call have more than {most >> 20} MiB and no end")


def actor_header(actor: str) -> tuple[str, str | bytes]:
    """Return the header that names who acts.

    Raises:
        InvalidField: the name has a character that nobody sees.
    """
    if not actor.isprintable():
        fix = "has a character that is not printable; give printable text"
        raise InvalidField(FieldViolation("actor", fix))
    return (ACTOR_HEADER, actor) if actor.isascii() else (ACTOR_HEADER_UTF8, actor.encode())


def actor_in(metadata: Mapping[str, str | bytes]) -> str:
    """Return who acts, as the headers of a call say; empty when none does."""
    sent = metadata.get(ACTOR_HEADER_UTF8) or metadata.get(ACTOR_HEADER) or ""
    return sent if isinstance(sent, str) else sent.decode(errors="replace")


def check_header(field: str, value: str) -> None:
    """Check what is sent with every call.

    Raises:
        InvalidField: gRPC would not send it.
    """
    if not (value.isascii() and value.isprintable()):
        raise InvalidField(FieldViolation(field, "has a character that no header takes; give printable ASCII"))


def read(answer: Response | None) -> Response:
    """Return what a server answers; gRPC gives None for bytes that are no such message, and says so in the log.

    Raises:
        UnexpectedError: they are none.
    """
    if answer is None:
        raise UnexpectedError("the server's answer is no message of the contract")
    return answer


def failure_of(error: BaseException, *, closed: bool, silence: float = 0.0) -> ModelwardError:
    """Turn what ended a call into our error.

    Args:
        error: one of `CALL_ERRORS`.
        closed: whether the client was closed.
        silence: for how many seconds the server had said nothing when the call was ended because of that; else 0.

    Raises:
        BaseException: `error`, when the caller himself was cancelled, or when it is none of gRPC's.
    """
    if isinstance(error, asyncio.CancelledError) and _caller_is_cancelled():
        raise error
    if silence:
        return DeadlineExceeded(f"the server said nothing for {silence:g} s")
    if closed:
        return client_closed()
    if isinstance(error, grpc.RpcError):
        return error_of(error)
    if isinstance(error, aio.BaseError):
        return UnexpectedError(f"gRPC did not make the call: {error}")
    # gRPC cancels an aio call, too, whose deadline comes while it still writes a stream, and then tells no status.
    if isinstance(error, grpc.FutureCancelledError | asyncio.CancelledError):
        return Unavailable("the call was cancelled")
    raise error


def _caller_is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def error_of(error: grpc.RpcError) -> ModelwardError:
    """Turn what gRPC raises into the error that the server raised."""
    call: Any = error
    status = _status(call.trailing_metadata() or ())
    info = _info(status)
    code = call.code() or grpc.StatusCode.UNKNOWN
    message = call.details() or code.name
    if code is grpc.StatusCode.INTERNAL and message == LOST_STATUS:
        return Unavailable("the call ended while data were sent, and why was lost")  # Another attempt will tell.
    if code is grpc.StatusCode.CANCELLED and info is None:
        return Unavailable("the server gave the call up, as it does when it stops")  # Who cancels here sees no error.
    if info is None and (sizes := TOO_LARGE.search(message)):
        return _too_large(*map(int, sizes.groups()))
    if info is None:
        return CLASS_OF_STATUS.get(code, UnexpectedError)(message)
    known = ModelwardError.by_reason.get(info.reason, CLASS_OF_STATUS.get(code, UnexpectedError))
    found = _described(known, status, message)
    found.metadata = dict(info.metadata)
    return found


def _too_large(size: int, limit: int) -> MessageTooLarge:
    said = f"the message has {size:,} bytes, and the server reads {limit:,} at the most; {SEND_SMALLER}"
    return MessageTooLarge(said, size_bytes=size, limit_bytes=limit)


def _described(known: type[ModelwardError], status: Status, message: str) -> ModelwardError:
    """Make an error with what its kind has beside facts."""
    if known is InvalidField:
        violations = [FieldViolation(v.field, v.description) for v in _detail(status, BadRequest()).field_violations]
        return InvalidField(*violations, message=message)
    if known is GatesFailed:
        failed = _detail(status, PreconditionFailure()).violations
        return GatesFailed(*(GateResult(v.type, False, v.description) for v in failed), message=message)
    if known is LimitReached:
        delay = _detail(status, RetryInfo()).retry_delay
        return LimitReached(message, max(delay.seconds + delay.nanos / 1e9, 0.0) or None)
    return known(message)


def _status(metadata: Iterable[tuple[str, str | bytes]]) -> Status:
    """Return the details that came with an error; none when they are no details."""
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
    """Return the detail of a kind, or what was given where there is none that can be read."""
    for detail in status.details:
        try:
            detail.Unpack(empty)  # It leaves the message alone when the detail is of another type.
        except DecodeError:
            empty.Clear()
    return empty

"""What both clients do around a call: name it once, decide about another attempt, read what went wrong."""

import math
import random
import re
import time
from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status

from modelward._request_ids import new_request_id
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
STATUS_DETAILS = "grpc-status-details-bin"
LOST_STATUS = "Internal error from Core"
"""What grpc.aio says when a write meets the end of its call; it forgets the server's status (grpc issue 36066)."""
TOO_LARGE = re.compile(r"message larger than max \((\d+) vs\. (\d+)\)")
"""What gRPC itself says of a message that it refuses before the server sees it."""
FIRST_PAUSE_SECONDS = 0.01
"""So short because another server may take the next attempt."""
LONGEST_PAUSE_SECONDS = 1.0

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
        self._deadline = time.monotonic() + timeout
        self._patience = patience
        self._pauses = Pauses()
        self.progressed()

    def progressed(self) -> None:
        """Note that the call gets on: should it break now, patience begins anew."""
        self._pauses.begin_anew()
        self._end_of_patience = time.monotonic() + self._patience

    def remaining(self) -> float:
        """Return the seconds that are left, never below a millisecond."""
        return max(self._deadline - time.monotonic(), 0.001)

    def pause_before_next(self, error: ModelwardError) -> float:
        """Return the seconds to wait before another attempt; only what may pass by itself gets one.

        Raises:
            ModelwardError: `error`, when another attempt would not help or would come too late.
        """
        asked = error.retry_seconds if isinstance(error, LimitReached) else None
        pause = self._pauses.next() + (asked or 0.0)
        late = time.monotonic() + pause > min(self._deadline, self._end_of_patience)
        if late or not (isinstance(error, Unavailable | ConcurrentChange) or asked is not None):
            raise error from None  # What gRPC raised says nothing more.
        return pause


def pause_before_watching(error: Unavailable | LimitReached, pauses: Pauses, *, begun: bool) -> float:
    """Return the seconds to wait before a watch that broke off is opened again.

    Raises:
        LimitReached: `error`, when the watch has not begun and waiting does not help.
    """
    asked = error.retry_seconds if isinstance(error, LimitReached) else 0.0
    if asked is None and not begun:
        raise error
    return (asked or 0.0) + pauses.next()


def error_of(error: grpc.RpcError) -> ModelwardError:
    """Turn what gRPC raises into the error that the server raised."""
    call: Any = error
    status = _status(call.trailing_metadata() or ())
    info = _info(status)
    message = call.details() or call.code().name
    if call.code() is grpc.StatusCode.INTERNAL and message == LOST_STATUS:
        return Unavailable("the call ended while data were sent, and why was lost")  # Another attempt will tell.
    if call.code() is grpc.StatusCode.CANCELLED and info is None:
        return Unavailable("the server gave the call up, as it does when it stops")  # Who cancels here sees no error.
    if info is None and (sizes := TOO_LARGE.search(message)):
        return _too_large(*map(int, sizes.groups()))
    if info is None:
        return CLASS_OF_STATUS.get(call.code(), UnexpectedError)(message)
    known = ModelwardError.by_reason.get(info.reason, CLASS_OF_STATUS.get(call.code(), UnexpectedError))
    return _described(known, status, message, dict(info.metadata))


def _too_large(size: int, limit: int) -> MessageTooLarge:
    way_out = "send large data by a streaming call (UploadBlobs, SetReference, DetectDriftStream) or by URI"
    said = f"the message has {size:,} bytes, and the server reads {limit:,} at the most; {way_out}"
    return MessageTooLarge(said, size_bytes=size, limit_bytes=limit)


def _described(known: type[ModelwardError], status: Status, message: str, facts: dict[str, str]) -> ModelwardError:
    """Make an error with what its kind has beside facts."""
    if known is InvalidField:
        violations = [FieldViolation(v.field, v.description) for v in _detail(status, BadRequest()).field_violations]
        return InvalidField(*violations, message=message, **facts)
    if known is GatesFailed:
        failed = _detail(status, PreconditionFailure()).violations
        return GatesFailed(*(GateResult(v.type, False, v.description) for v in failed), message=message, **facts)
    if known is LimitReached:
        delay = _detail(status, RetryInfo()).retry_delay.ToTimedelta().total_seconds()
        return LimitReached(message, delay or None, **facts)
    return known(message, **facts)


def _status(metadata: Iterable[tuple[str, str | bytes]]) -> Status:
    for key, value in metadata:
        if key == STATUS_DETAILS and isinstance(value, bytes):
            return Status.FromString(value)
    return Status()


def _info(status: Status) -> ErrorInfo | None:
    info = _detail(status, ErrorInfo())
    return info if info.domain == DOMAIN else None


def _detail(status: Status, empty: Any) -> Any:
    """Return the detail of a kind, or what was given where there is none."""
    for detail in status.details:
        detail.Unpack(empty)  # It leaves the message alone when the detail is of another type.
    return empty

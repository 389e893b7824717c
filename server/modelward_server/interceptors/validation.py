"""Requests are read, and checked against the constraints in the protos, before any code of ours sees them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

from google.protobuf.message import DecodeError, Message
from grpc import aio
from protovalidate import Validator, Violation

from modelward.errors import DeadlineExceeded, FieldViolation, InvalidField, MessageTooLarge
from modelward.shared.retry import SEND_SMALLER
from modelward_server.interceptors.access_log import name_call
from modelward_server.interceptors.base import Call, Interceptor
from modelward_server.interceptors.timestamp_validation import impossible_times

MESSAGE_LIMIT = 4 << 20
"""Bytes that one message may have: gRPC's own default, which clients in every language expect."""
MAX_RECEIVED = MESSAGE_LIMIT + (1 << 20)
"""Bytes beyond which gRPC itself refuses a message, before it is here, and ends what a compressed one unpacks to.

A message that is a little over the limit still gets an answer that says what to do.
"""
MAX_SILENCE_SECONDS = 60.0
"""How long a call that has one message may take to send it."""
CANCELLATION_SECONDS = 0.1
TURNS = 3
"""Turns of the event loop after which a cancellation that belongs to the end of a stream has come."""

PATTERNS = {
    "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$": (
        "must begin with a letter or digit and go on with letters, digits, '.', '_' or '-', 128 characters at most"
    ),
    "^[A-Za-z0-9][A-Za-z0-9._/ -]{0,127}$": (
        "must begin with a letter or digit and go on with letters, digits, spaces, '.', '_', '/' or '-', "
        "128 characters at most"
    ),
    "^[^\\x00-\\x1f]+$": "must have at least one character, and no control characters",
    "^[0-9a-f]{64}$": "must be a SHA-256 as 64 lowercase hexadecimal digits",
}
"""What the regular expressions of the protos ask for, in words."""

MOST_VIOLATIONS = 20
"""How many are told of one message: the trailers of a call have room for a few thousand bytes."""

_validator = Validator()


class Validation(Interceptor):
    """Reads requests, which nobody did before: their size is checked before they are parsed, and then their fields."""

    def is_for(self, method: str) -> bool:
        return True

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        call.request = _messages(call) if call.served.request_streaming else await _message(call)
        yield


async def _message(call: Call) -> Any:
    """Return the message of a call that has one.

    Raises:
        DeadlineExceeded: it did not come in time.
        InvalidField, MessageTooLarge: as `check_message`; or the client sent none.
    """
    try:
        async with asyncio.timeout(MAX_SILENCE_SECONDS) as limit:
            data = await call.context.read()
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineExceeded(f"the request did not come within {MAX_SILENCE_SECONDS:g} s; send it at once") from None
    if data is aio.EOF:
        # When the client left, or gRPC refused the message, the call is cancelled, of which one learns a moment later.
        await asyncio.sleep(CANCELLATION_SECONDS)
        raise InvalidField(FieldViolation("request", "did not come; send one message"))
    call.request = message = _parse(call, data)
    name_call(call)
    await _check(call, message, first=True)
    return message


async def _messages(call: Call) -> AsyncIterator[Any]:
    first = True
    while (data := await call.context.read()) is not aio.EOF:
        message = _parse(call, data)
        await _check(call, message, first=first)
        first = False
        yield message
    for _ in range(TURNS):  # A stream that was cut off must not look like one that is complete.
        await asyncio.sleep(0)


async def _check(call: Call, message: Message, *, first: bool) -> None:
    check_message(message)
    if call.visit:
        await call.visit.check(message, first=first)


def _parse(call: Call, data: bytes) -> Any:
    size = len(data)
    if size > MESSAGE_LIMIT:
        raise MessageTooLarge(
            f"the message has {size:,} bytes and {MESSAGE_LIMIT:,} are allowed; {SEND_SMALLER}",
            size_bytes=size,
            limit_bytes=MESSAGE_LIMIT,
        )
    try:
        return call.served.parse(data)
    except DecodeError as error:
        fix = f"its bytes cannot be read ({error}); send a message made from this server's protos"
        raise InvalidField(FieldViolation("request", fix)) from None


def check_message(message: Message) -> None:
    """Refuse a message that the contract does not allow.

    Raises:
        InvalidField: with a violation for each field that is wrong, `MOST_VIOLATIONS` at the most.
    """
    violations = _validator.collect_violations(message)
    if violations:
        raise InvalidField(*map(_describe, violations[:MOST_VIOLATIONS]))
    impossible = list(islice(impossible_times(message), MOST_VIOLATIONS))
    if impossible:
        raise InvalidField(*impossible)


def _describe(violation: Violation) -> FieldViolation:
    said = violation.proto.message
    pattern = said.partition("regex pattern `")[2].rstrip("`")
    return FieldViolation(".".join(_path(violation)), PATTERNS.get(pattern, said))


def _path(violation: Violation) -> Iterator[str]:
    """Name the field as a person would write it: `metrics["accuracy"]`, `files[2].path`."""
    elements = violation.proto.field.elements if violation.proto.field else []
    for element in elements:
        subscript = element.subscript
        if subscript is None:
            yield element.field_name
        elif subscript.field == "string_key":
            yield f'{element.field_name}["{subscript.value}"]'
        else:
            yield f"{element.field_name}[{subscript.value}]"

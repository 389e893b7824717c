"""Parsing of requests and validation against the protos' constraints, before any servicer sees them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import chain, islice
from typing import Any

from google.protobuf.message import DecodeError, Message
from grpc import aio
from protovalidate import Validator, Violation

from modelward.errors import DeadlineExceeded, FieldViolation, InvalidField, MessageTooLarge
from modelward.shared.retry import SEND_SMALLER
from modelward_server.interceptors.access_log import adopt_request_id
from modelward_server.interceptors.base import Behavior, Call, Interceptor
from modelward_server.interceptors.text_validation import invalid_texts
from modelward_server.interceptors.timestamp_validation import invalid_times

MESSAGE_LIMIT = 4 << 20
"""Maximum size of one message in bytes: gRPC's own default, which clients in every language expect."""
MAX_RECEIVED = MESSAGE_LIMIT + (1 << 20)
"""Size in bytes beyond which gRPC itself refuses a message before it arrives here, also while decompressing it.

A message slightly over `MESSAGE_LIMIT` still gets an error that names the remedy.
"""
MAX_SILENCE_SECONDS = 60.0
"""How long a call with a single request message may take to send it."""
CANCELLATION_SECONDS = 0.1
TURNS = 3
"""Turns of the event loop after which a cancellation that coincides with the end of a stream has arrived."""

PATTERNS = {
    "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$": (
        "must begin with a letter or digit and continue with letters, digits, '.', '_' or '-', 128 characters at most"
    ),
    "^[A-Za-z0-9][A-Za-z0-9._/ -]{0,127}$": (
        "must begin with a letter or digit and continue with letters, digits, spaces, '.', '_', '/' or '-', "
        "128 characters at most"
    ),
    "^([1-9][0-9]{0,8}|[A-Za-z][A-Za-z0-9._-]{0,127})?$": "must be a version's number, an alias, or empty",
    "^[^\\x00-\\x1f]+$": "must have at least one character, and no control characters",
    "[^\\s\\p{C}\\p{Z}]": "is missing, or blank",
    "^([0-9]{4}-[0-9]{2}-[0-9]{2})?$": "must be a date such as 2027-03-31, or empty",
    "^[0-9a-f]{64}$": "must be a SHA-256 as 64 lowercase hexadecimal digits",
    "^[0-9a-f]{7,64}$": "must be a commit as 7 to 64 lowercase hexadecimal digits",
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}$": "must be a date such as 2027-03-31",
    "^([A-Za-z0-9][A-Za-z0-9._-]{0,127})?$": (
        "must be empty, or begin with a letter or digit and continue with letters, digits, '.', '_' or '-', "
        "128 characters at most"
    ),
    "^[^\\x00-\\x1f]*$": "must have no control characters",
    "\\S": "must have at least one character that is not a space",
    "^[a-z][a-z0-9-]{0,31}$": (
        "must begin with a lowercase letter and continue with lowercase letters, digits or '-', 32 characters at most"
    ),
    "^[a-z0-9][a-z0-9-]{0,15}$": (
        "must begin with a lowercase letter or digit and continue with these or '-', 16 characters at most"
    ),
    "^(time_)?(loss|gain):[A-Za-z0-9][A-Za-z0-9._ -]{0,63}$": (
        "must be loss:NAME, gain:NAME, time_loss:NAME or time_gain:NAME, whose name begins with a letter or digit and "
        "continues with letters, digits, spaces, '.', '_' or '-', 64 characters at most"
    ),
    "^(-?[0-9]+|[0-9]{4}(-[0-9]{2}(-[0-9]{2}([T ][0-9:.]+Z?)?)?)?)?$": (
        "must be a year, month, date or time of ISO 8601 in UTC, such as 2024-06-28T20:00:00Z, or an integer"
    ),
}
"""Descriptions of the regular expressions in the protos."""

MAX_VIOLATIONS = 20
"""Maximum number of violations reported for one message: the trailers of a call hold a few thousand bytes."""

_validator = Validator()


class Validation(Interceptor):
    """Parses requests: their size is checked before they are parsed, and their fields afterwards."""

    def applies_to(self, method: str) -> bool:
        return True

    async def run(self, inner: Behavior, call: Call) -> Any:
        call.request = _messages(call) if call.served.request_streaming else await _message(call)
        return await inner(call)


async def _message(call: Call) -> Any:
    """Return the message of a call with a single request message.

    Raises:
        DeadlineExceeded: it did not arrive in time.
        InvalidField, MessageTooLarge: see `check_message`; or the client sent no message.
    """
    try:
        async with asyncio.timeout(MAX_SILENCE_SECONDS) as limit:
            data = await call.context.read()
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineExceeded(f"the request did not arrive in {MAX_SILENCE_SECONDS:g} s; send it at once") from None
    if data is aio.EOF:
        # When the client left, or gRPC refused the message, the call is cancelled, but that arrives a moment later.
        await asyncio.sleep(CANCELLATION_SECONDS)
        raise InvalidField(FieldViolation("request", "is missing; send one message"))
    call.request = message = _parse(call, data)
    adopt_request_id(call)
    await _check(call, message, first=True)
    return message


async def _messages(call: Call) -> AsyncIterator[Any]:
    first = True
    while (data := await call.context.read()) is not aio.EOF:
        message = _parse(call, data)
        await _check(call, message, first=first)
        first = False
        yield message
    for _ in range(TURNS):  # A stream that was cut off must not look complete.
        await asyncio.sleep(0)


async def _check(call: Call, message: Message, *, first: bool) -> None:
    check_message(message)
    if call.authorization:
        await call.authorization.check(message, first=first)


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
    """Refuse a message that violates the contract.

    Raises:
        InvalidField: with a violation for each invalid field, at most `MAX_VIOLATIONS`.
    """
    violations = _validator.collect_violations(message)
    if violations:
        raise InvalidField(*map(_describe, violations[:MAX_VIOLATIONS]))
    invalid = list(islice(chain(invalid_times(message), invalid_texts(message)), MAX_VIOLATIONS))
    if invalid:
        raise InvalidField(*invalid)


def _describe(violation: Violation) -> FieldViolation:
    description = violation.proto.message
    pattern = description.partition("regex pattern `")[2].rstrip("`")
    return FieldViolation(".".join(_path(violation)) or "request", PATTERNS.get(pattern, description))


def _path(violation: Violation) -> Iterator[str]:
    """Yield the parts of the field's path in common notation: `metrics["accuracy"]`, `files[2].path`."""
    elements = violation.proto.field.elements if violation.proto.field else []
    for element in elements:
        subscript = element.subscript
        if subscript is None:
            yield element.field_name
        elif subscript.field == "string_key":
            yield f'{element.field_name}["{subscript.value}"]'
        else:
            yield f"{element.field_name}[{subscript.value}]"

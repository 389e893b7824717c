"""Checks of each message against the constraints in the protos, before any code of ours sees it."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from google.protobuf.message import DecodeError, Message
from protovalidate import Validator, Violation

from modelward.errors import FieldViolation, InvalidField, MessageTooLarge
from modelward_server.rpc.times import impossible_times

MESSAGE_LIMIT = 4 << 20
"""Bytes that one message may have: gRPC's own default, which clients in every language expect."""

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


class Unreadable:
    """Stands for a message whose bytes are not one."""

    def __init__(self, error: DecodeError) -> None:
        self.reason = str(error)


def reader(parse: Callable[[bytes], Any]) -> Callable[[bytes], Message | Unreadable]:
    """Return what reads a message without raising: gRPC answers what raises here as if the server were broken."""

    def read(data: bytes) -> Message | Unreadable:
        try:
            message: Message = parse(data)
            return message
        except DecodeError as error:
            return Unreadable(error)

    return read


def check_message(message: Message | Unreadable) -> None:
    """Refuse a message that the contract does not allow.

    Raises:
        MessageTooLarge: it has more than `MESSAGE_LIMIT` bytes.
        InvalidField: with a violation for each field that is wrong, `MOST_VIOLATIONS` at the most.
    """
    if isinstance(message, Unreadable):
        fix = f"its bytes cannot be read ({message.reason}); send a message made from this server's protos"
        raise InvalidField(FieldViolation("request", fix))
    size = message.ByteSize()
    if size > MESSAGE_LIMIT:
        raise MessageTooLarge(
            f"the message has {size:,} bytes and {MESSAGE_LIMIT:,} are allowed; "
            "send large data by a streaming call (UploadBlobs, SetReference, DetectDriftStream) or by URI",
            size_bytes=size,
            limit_bytes=MESSAGE_LIMIT,
        )
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

"""Instants and spans that no clock can show: protobuf carries them, and the contract's constraints let them pass."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from modelward.errors import FieldViolation

NO_INSTANT = "must be an instant from the year 1 to the year 9999, with nanos from 0 to 999,999,999"
NO_SPAN = "must be a span of 10,000 years at most, with nanos below a second and of the same sign as the seconds"
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799
LONGEST_SECONDS = 315_576_000_000
NANOS = 1_000_000_000


def impossible_times(message: Message, path: str = "") -> Iterator[FieldViolation]:
    """Name every `Timestamp` and `Duration` in a message that protobuf's own definition of them does not allow."""
    for field in _leading_to_times(message.DESCRIPTOR):
        for name, value in _values(message, field):
            if isinstance(value, Timestamp):
                fits, fix = _is_instant(value), NO_INSTANT
            elif isinstance(value, Duration):
                fits, fix = _is_span(value), NO_SPAN
            else:
                yield from impossible_times(value, f"{path}{name}.")
                continue
            if not fits:
                yield FieldViolation(path + name, fix)


def _values(message: Any, field: FieldDescriptor) -> Iterator[tuple[str, Any]]:
    if not field.is_repeated:
        if message.HasField(field.name):
            yield field.name, getattr(message, field.name)
    elif field.message_type and field.message_type.GetOptions().map_entry:
        yield from ((f'{field.name}["{key}"]', value) for key, value in getattr(message, field.name).items())
    else:
        yield from ((f"{field.name}[{i}]", value) for i, value in enumerate(getattr(message, field.name)))


def _is_instant(value: Timestamp) -> bool:
    return FIRST_SECOND <= value.seconds <= LAST_SECOND and 0 <= value.nanos < NANOS


def _is_span(value: Duration) -> bool:
    same_sign = value.seconds * value.nanos >= 0
    return abs(value.seconds) <= LONGEST_SECONDS and abs(value.nanos) < NANOS and same_sign


@cache
def _leading_to_times(kind: Descriptor) -> tuple[FieldDescriptor, ...]:
    """Return the fields of a message that hold instants or spans, or messages with such: most have none."""
    return tuple(field for field in kind.fields if field.message_type and _has_times(field.message_type, frozenset()))


def _has_times(kind: Descriptor, within: frozenset[str]) -> bool:
    if kind.full_name in (Timestamp.DESCRIPTOR.full_name, Duration.DESCRIPTOR.full_name):
        return True
    if kind.full_name in within:
        return False  # It holds itself.
    inner = [field.message_type for field in kind.fields if field.message_type]
    return any(_has_times(one, within | {kind.full_name}) for one in inner)

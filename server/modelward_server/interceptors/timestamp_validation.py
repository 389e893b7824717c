"""Validation of `Timestamp` and `Duration` ranges, which neither protobuf nor the contract's constraints check."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from modelward.errors import FieldViolation

TIMESTAMP_FIX = "must be a timestamp from the year 1 to the year 9999, with nanos from 0 to 999,999,999"
DURATION_FIX = "must be a duration of 10,000 years at most, with nanos below a second and of the sign of its seconds"
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799
MAX_DURATION_SECONDS = 315_576_000_000
NANOS = 1_000_000_000


def invalid_times(message: Message, path: str = "") -> Iterator[FieldViolation]:
    """Yield a violation for every `Timestamp` and `Duration` outside the range that protobuf defines for it."""
    for field in _time_fields(message.DESCRIPTOR):
        for name, value in _values(message, field):
            if isinstance(value, Timestamp):
                is_valid, fix = _is_timestamp(value), TIMESTAMP_FIX
            elif isinstance(value, Duration):
                is_valid, fix = _is_duration(value), DURATION_FIX
            else:
                yield from invalid_times(value, f"{path}{name}.")
                continue
            if not is_valid:
                yield FieldViolation(path + name, fix)


def _values(message: Any, field: FieldDescriptor) -> Iterator[tuple[str, Any]]:
    if not field.is_repeated:
        if message.HasField(field.name):
            yield field.name, getattr(message, field.name)
    elif field.message_type and field.message_type.GetOptions().map_entry:
        yield from ((f'{field.name}["{key}"]', value) for key, value in getattr(message, field.name).items())
    else:
        yield from ((f"{field.name}[{i}]", value) for i, value in enumerate(getattr(message, field.name)))


def _is_timestamp(value: Timestamp) -> bool:
    return FIRST_SECOND <= value.seconds <= LAST_SECOND and 0 <= value.nanos < NANOS


def _is_duration(value: Duration) -> bool:
    same_sign = value.seconds * value.nanos >= 0
    return abs(value.seconds) <= MAX_DURATION_SECONDS and abs(value.nanos) < NANOS and same_sign


@cache
def _time_fields(kind: Descriptor) -> tuple[FieldDescriptor, ...]:
    """Return the fields of a message that are timestamps, durations or messages that contain some: most have none."""
    return tuple(field for field in kind.fields if field.message_type and _has_times(field.message_type, frozenset()))


def _has_times(kind: Descriptor, within: frozenset[str]) -> bool:
    if kind.full_name in (Timestamp.DESCRIPTOR.full_name, Duration.DESCRIPTOR.full_name):
        return True
    if kind.full_name in within:
        return False  # A recursive message.
    inner = [field.message_type for field in kind.fields if field.message_type]
    return any(_has_times(one, within | {kind.full_name}) for one in inner)

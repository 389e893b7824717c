"""Validation of text: PostgreSQL cannot keep the character NUL, which protobuf allows."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from modelward.errors import FieldViolation

NUL = "\0"
FIX = "must not contain the character NUL (U+0000)"


def invalid_texts(message: Message, path: str = "") -> Iterator[FieldViolation]:
    """Yield a violation for every text with a NUL: a field, an element of a list, a key or a value of a map."""
    for field, value in message.ListFields():
        if _has_text(field):
            name = f"{path}{field.name}"
            yield from _of_list(name, value) if field.is_repeated else _of_value(name, value)


def _of_value(name: str, value: Any) -> Iterator[FieldViolation]:
    if isinstance(value, Message):
        yield from invalid_texts(value, f"{name}.")
    elif isinstance(value, str) and NUL in value:
        yield FieldViolation(name, FIX)


def _of_list(name: str, values: Any) -> Iterator[FieldViolation]:
    if isinstance(values, Mapping):
        yield from _of_map(name, values)
    elif isinstance(values[0], Message) or NUL in "".join(values):  # One search for all of many texts.
        for place, value in enumerate(values):
            yield from _of_value(f"{name}[{place}]", value)


def _of_map(name: str, values: Mapping[Any, Any]) -> Iterator[FieldViolation]:
    for key, value in values.items():
        if isinstance(key, str) and NUL in key:
            yield FieldViolation(name, f"has a key that {FIX}")
        else:
            yield from _of_value(f'{name}["{key}"]', value)


@cache
def _has_text(field: FieldDescriptor) -> bool:
    """Return whether a field is text, or a message that contains some."""
    return field.type == FieldDescriptor.TYPE_STRING or bool(
        field.message_type and _contains_text(field.message_type, frozenset())
    )


def _contains_text(kind: Descriptor, within: frozenset[str]) -> bool:
    if kind.full_name in within:
        return False  # A recursive message.
    inner: Sequence[FieldDescriptor] = kind.fields
    if any(field.type == FieldDescriptor.TYPE_STRING for field in inner):
        return True
    return any(_contains_text(field.message_type, within | {kind.full_name}) for field in inner if field.message_type)

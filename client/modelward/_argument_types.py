"""Argument types of the SDK: each annotation becomes a type that converts a value, or reports what is wrong with it.

Values of several forms are accepted where only one meaning is possible: numpy numbers, ISO 8601 text for a timestamp,
`"7d"` for a duration, the value of an enumeration as text, one item where a list is expected. Every other value is
rejected with the name of the argument and the fix.
"""

import dataclasses
import inspect
import numbers
import operator
import os
import reprlib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from modelward._coerce import as_ref
from modelward._text import has_surrogate
from modelward.abtest import AbOutcome, AbTest
from modelward.comparison import AnyMetric, CustomMetric, Metric
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import ModelVersion, VersionRef
from modelward.retraining import Job
from modelward.shared.row_ids import is_absent, plain
from modelward.shared.suggestions import nearest
from modelward.shared.times import parse_duration, parse_instant

SequenceNumber = Annotated[int, 63]
"""Sequence numbers of audit records have 63 bits; other whole numbers have 31."""
MAX_DURATION = timedelta(seconds=315_576_000_000)
"""The longest duration that the contract can represent, about 10,000 years."""
CHECKED_LATER = (AbOutcome, AbTest, Job, ModelVersion)
"""Types of server responses, or of values that come in large numbers: only their class is checked."""


@dataclasses.dataclass(frozen=True)
class ArgumentType:
    """The type of an argument."""

    name: str
    """What to give, in words."""
    convert: Callable[[Any, str], Any]
    """Converts a value, given the name of its argument; raises `InvalidField`."""


def refused(field: str, value: object, fix: str) -> InvalidField:
    """Return the error for a value that cannot be used."""
    shown = str(value) if isinstance(value, date | timedelta) else reprlib.repr(value)
    kind = "" if value is None else f" ({type(value).__name__})"
    return InvalidField(FieldViolation(field, f"is {shown}{kind}; {fix}"))


@cache
def argument_type(hint: Any) -> ArgumentType:
    """Return the type of an annotation."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return _union(args)
    if origin is Literal:
        return _one_of(args, lambda text: text)
    if origin is Annotated:
        return _whole_number(args[1])
    if origin is Callable:
        return ArgumentType("a function", _function)
    return _plain(hint) if origin is None else _container(origin, args)


def _container(origin: type, args: tuple[Any, ...]) -> ArgumentType:
    if issubclass(origin, Mapping):
        return _mapping(argument_type(args[0]), argument_type(args[1]))
    if origin is tuple and args[-1] is not Ellipsis:
        return _pair(len(args))
    return _sequence(args[0], origin)


def _plain(hint: Any) -> ArgumentType:
    if hint in BASIC:
        return BASIC[hint]
    if hint is CustomMetric:
        return _metric()
    if issubclass(hint, Enum):
        return _one_of([member.value for member in hint], hint)
    if hint not in CHECKED_LATER and dataclasses.is_dataclass(hint):
        return dataclass_type(hint)
    return _instance(hint)


def _anything(value: Any, field: str) -> Any:
    return value


def as_text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        shown = f", for example {str(value)!r}" if isinstance(value, numbers.Number) else ""
        raise refused(field, value, f"give text{shown}")
    if has_surrogate(value):
        raise refused(field, value, "contains a lone surrogate; give text that can be encoded as UTF-8")
    return value


def _whole_number(bits: int) -> ArgumentType:
    def convert(value: Any, field: str) -> int:
        try:
            number = operator.index(_not_truth(value))
        except TypeError:
            raise refused(field, value, "give a whole number") from None
        if not -(1 << bits) <= number < 1 << bits:
            raise refused(field, value, f"give a whole number below {1 << bits}")
        return number

    return ArgumentType("a whole number", convert)


def _not_truth(value: Any) -> Any:
    if isinstance(value, bool):
        raise TypeError
    return value


def _number(value: Any, field: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise refused(field, value, "give a number")
    try:
        return float(value)
    except OverflowError:
        raise refused(field, value, "give a number in the range of a float") from None


def _truth(value: Any, field: str) -> bool:
    if isinstance(value, bool) or (type(value).__module__ == "numpy" and type(value).__name__ in {"bool", "bool_"}):
        return bool(value)
    raise refused(field, value, "give True or False")


def _instant(value: Any, field: str) -> datetime:
    value = plain(value)
    try:
        instant = parse_instant(value) if isinstance(value, str) else value
        if type(value).__name__ == "datetime64":
            raise refused(field, value, "has no time zone; add one, for example with pandas.to_datetime(..., utc=True)")
        if not isinstance(instant, datetime) or instant != instant:  # noqa: PLR0124 - pandas' NaT is no instant
            raise ValueError
        instant.astimezone(UTC)  # Near the limits of datetime the conversion to another zone may overflow.
    except (ValueError, OverflowError):
        raise refused(field, value, f"give {BASIC[datetime].name}") from None
    if instant.tzinfo is None:
        raise refused(field, value, "has no time zone; add one, for example datetime(..., tzinfo=UTC)")
    return instant


def _date(value: Any, field: str) -> date:
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else value
        if not isinstance(day, date) or isinstance(day, datetime):
            raise ValueError
    except ValueError:
        raise refused(field, value, f"give {BASIC[date].name}") from None
    return day


def _duration(value: Any, field: str) -> timedelta:
    try:
        duration = parse_duration(value) if isinstance(value, str) else value
        if not isinstance(duration, timedelta) or not -MAX_DURATION <= duration <= MAX_DURATION:
            raise ValueError
    except ValueError:
        raise refused(field, value, f"give {BASIC[timedelta].name}") from None
    return duration


def as_path(value: Any, field: str) -> Path:
    """Return a path that the operating system accepts.

    Raises:
        InvalidField: it is not a path.
    """
    text = str(value) if isinstance(value, str | os.PathLike) else ""
    if not text or "\0" in text or has_surrogate(text):
        raise refused(field, value, "give a path as text or as pathlib.Path")
    return Path(value)


def _version(value: Any, field: str) -> VersionRef | ModelVersion:
    return value if isinstance(value, ModelVersion) else as_ref(value, field)


def _function(value: Any, field: str) -> Any:
    if not callable(value):
        raise refused(field, value, "give a function")
    return value


ANYTHING = ArgumentType("anything", _anything)
BASIC: dict[Any, ArgumentType] = {
    Any: ANYTHING,
    object: ANYTHING,
    str: ArgumentType("text", as_text),
    int: _whole_number(31),
    float: ArgumentType("a number", _number),
    bool: ArgumentType("True or False", _truth),
    datetime: ArgumentType("a datetime with its time zone, or ISO 8601 text such as '2026-11-01T10:00Z'", _instant),
    date: ArgumentType("a date, or text such as '2027-03-31'", _date),
    timedelta: ArgumentType("a timedelta, or text such as '90m', '24h' or '7d'", _duration),
    Path: ArgumentType("a path", as_path),
    VersionRef: ArgumentType("a version such as 'spx-direction/3'", _version),
}


def _one_of(values: Iterable[str], make: Callable[[str], Any]) -> ArgumentType:
    names = list(values)
    listed = ", ".join(names)

    def convert(value: Any, field: str) -> Any:
        if not isinstance(value, str):
            raise refused(field, value, f"give one of {listed}")
        if value not in names:
            fix = f"{value!r} is not one of {listed}{nearest(value, names)}"
            raise InvalidField(FieldViolation(field, fix))
        return make(value)

    return ArgumentType(f"one of {listed}", convert)


def _metric() -> ArgumentType:
    """Create the type of a metric, or of one of the user's own, whose name has a colon."""
    known = _one_of(list(Metric), Metric)

    def convert(value: Any, field: str) -> AnyMetric:
        if not isinstance(value, str) or ":" not in value:
            metric: Metric = known.convert(value, field)
            return metric
        try:
            return CustomMetric(value)
        except ValueError as error:
            raise InvalidField(FieldViolation(field, str(error))) from None

    return ArgumentType(f"{known.name}, or loss:NAME or gain:NAME", convert)


def _union(hints: tuple[Any, ...]) -> ArgumentType:
    """Create a union type; text is read as a version, an enumeration or a path where one of them is possible."""
    reads_text = any(h in {VersionRef, Path} or (isinstance(h, type) and issubclass(h, Enum)) for h in hints)
    redundant = {types.NoneType, *((str, ModelVersion, tuple[str, int]) if reads_text else ())}
    redundant |= {Metric} if CustomMetric in hints else set()
    kinds = [argument_type(hint) for hint in hints if hint not in redundant]
    name = " or ".join(kind.name for kind in kinds)

    def convert(value: Any, field: str) -> Any:
        if is_absent(plain(value)) and types.NoneType in hints:
            return None
        errors = []
        for kind in kinds:
            try:
                return kind.convert(value, field)
            except InvalidField as error:
                errors.append(error)
        raise _most_precise(errors, field) or refused(field, value, f"give {name}")

    return ArgumentType(name, convert)


def _most_precise(errors: list[InvalidField], field: str) -> InvalidField | None:
    """Return the error about a part of the value, or the one that all types report; None when they differ."""
    inner = (error for error in errors if any(violation.field != field for violation in error.violations))
    agreed = errors[0] if len({error.message for error in errors}) == 1 else None
    return next(inner, agreed)


def _mapping(keys: ArgumentType, values: ArgumentType) -> ArgumentType:
    def convert(value: Any, field: str) -> dict[Any, Any]:
        if isinstance(value, type) or not (hasattr(value, "keys") and hasattr(value, "__getitem__")):
            raise refused(field, value, f"give a dictionary whose values are {values.name}")
        converted: dict[Any, Any] = {}
        for key in value.keys():  # noqa: SIM118 - iterating over a pandas Series gives its values
            name = keys.convert(key, f"{field} (its key)")
            if name in converted:
                raise InvalidField(FieldViolation(field, f"names {name} twice"))
            converted[name] = values.convert(
                value[key], f"{field}[{key if isinstance(key, VersionRef) else repr(key)}]"
            )
        return converted

    return ArgumentType("a dictionary", convert)


def _sequence(item_hint: Any, origin: type) -> ArgumentType:
    """Create the type of a list. A single item is a list of one; a text is one item."""
    item = argument_type(item_hint)
    name = "a list" if item is ANYTHING else f"a list, each item {item.name}"
    whole = tuple if origin is tuple else list
    lazy = isinstance(item_hint, type) and item_hint in CHECKED_LATER  # It may be an infinite iterator.

    def convert(value: Any, field: str) -> Any:
        if value is None or isinstance(value, Mapping | type):
            raise refused(field, value, f"give {name}")
        if isinstance(value, str | bytes) or not isinstance(value, Iterable):
            return whole([item.convert(value, field)])
        items = (item.convert(one, f"{field}[{i}]") for i, one in enumerate(value))
        return items if lazy else whole(items)

    return ArgumentType(name, convert)


def _pair(length: int) -> ArgumentType:
    def convert(value: Any, field: str) -> Any:
        if not isinstance(value, tuple | list) or len(value) != length:
            raise refused(field, value, f"give a tuple of {length}")
        return tuple(value)

    return ArgumentType(f"a tuple of {length}", convert)


def _named(cls: type) -> str:
    return f"{'an' if cls.__name__[0] in 'AEIOU' else 'a'} {cls.__name__}"


def dataclass_type(cls: Any) -> ArgumentType:
    """Create the type of a dataclass that callers construct; its fields are checked like arguments."""

    def convert(value: Any, field: str) -> Any:
        if not isinstance(value, cls):
            raise refused(field, value, f"give {_named(cls)}")
        hints = typing.get_type_hints(cls, include_extras=True)
        parts = {
            part.name: argument_type(hints[part.name]).convert(getattr(value, part.name), f"{field}.{part.name}")
            for part in dataclasses.fields(cls)
        }
        return dataclasses.replace(value, **parts)

    return ArgumentType(_named(cls), convert)


def _instance(cls: type) -> ArgumentType:
    def convert(value: Any, field: str) -> Any:
        if not isinstance(value, cls):
            raise refused(field, value, f"give {_named(cls)}")
        return value

    return ArgumentType(_named(cls), convert)


def parameter_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of a function's parameters; what it returns may be known to type checkers only."""
    declared = {name: hint for name, hint in function.__annotations__.items() if name != "return"}
    module = types.SimpleNamespace(__annotations__=declared)
    return typing.get_type_hints(module, inspect.unwrap(function).__globals__, include_extras=True)


def parameter_types(function: Callable[..., Any]) -> Iterator[tuple[str, ArgumentType]]:
    """Yield each parameter of a method except the first, with its type."""
    hints = parameter_hints(function)
    for name in list(inspect.signature(function).parameters)[1:]:
        yield name, argument_type(hints[name])

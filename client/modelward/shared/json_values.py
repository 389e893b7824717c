"""Convert results to JSON values; the commands and `to_dict` share this one implementation."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Set
from datetime import date, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any


def to_json(value: Any) -> Any:
    """Convert a value to what `json.dumps(..., allow_nan=False)` accepts.

    Dataclasses and mappings become objects, sequences, sets and arrays become lists, dates and times ISO 8601 text,
    durations seconds, enumerations their values, paths text. NaN and infinities become None, because JSON has no such
    numbers.

    Raises:
        TypeError: the value, or a part of it, has no such form.
    """
    if isinstance(value, Enum):
        return to_json(value.value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return _converter(value)(value)


def _converter(value: object) -> Callable[[Any], Any]:
    for types, convert in CONVERTERS.items():
        if isinstance(value, types):
            return convert
    if hasattr(value, "tolist"):  # An array or a number of numpy, which is not imported here.
        return lambda array: to_json(array.tolist())
    raise TypeError(f"a {type(value).__name__} has no form in JSON")


def _object(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(to_json(key)): to_json(item) for key, item in mapping.items()}


def _list(items: Iterable[Any]) -> list[Any]:
    return [to_json(item) for item in items]


CONVERTERS: dict[Any, Callable[[Any], Any]] = {
    Mapping: _object,
    list | tuple | Set: _list,
    date: lambda at: at.isoformat(),  # A datetime too.
    timedelta: timedelta.total_seconds,
    PurePath: str,
}

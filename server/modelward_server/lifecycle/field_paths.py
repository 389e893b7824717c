"""Partial updates: replace the fields of a dataclass that paths name."""

from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from modelward.errors import FieldViolation, InvalidField

Value = TypeVar("Value")


def replaced(current: Value, given: Value, paths: Iterable[str], root: str) -> Value:
    """Return the current value with the fields of the given one that paths name.

    Args:
        current: a dataclass, which may contain others.
        given: another value of its class.
        paths: the name of a field after that of the value, such as "inventory.scope.desks"; the root alone is all of
            it. Other paths are ignored.
        root: the name of the value.

    Raises:
        InvalidField: a path names no field.
    """
    for path in paths:
        first, *names = path.split(".")
        if first == root:
            current = _replaced(current, given, names, path)
    return current


def _replaced(current: Any, given: Any, names: list[str], path: str) -> Any:
    if not names:
        return given
    name, *inner = names
    if not is_dataclass(current) or name not in {field.name for field in fields(current)}:
        raise InvalidField(FieldViolation("update_mask", f"names {path}, which is not a field"))
    changed = _replaced(getattr(current, name), getattr(given, name), inner, path)
    return replace(current, **{name: changed})  # type: ignore[type-var]

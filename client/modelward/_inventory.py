"""Arguments that change an inventory or a lineage: all of it, or the fields that a mapping names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, TypeVar, get_type_hints

from modelward._argument_types import argument_type
from modelward.errors import FieldViolation, InvalidField
from modelward.shared.suggestions import nearest

T = TypeVar("T")


def changed_fields(kind: type[T], given: T | Mapping[str, Any] | None, name: str) -> tuple[T, list[str]]:
    """Return a value, and the paths of the fields that it changes.

    Args:
        kind: the class of the value.
        given: a value, which replaces the former one; or a mapping of names of fields to new values; None for no
            change.
        name: the name of the argument.

    Raises:
        InvalidField: the mapping names a field that does not exist, or a value of another type.
    """
    if given is None:
        return kind(), []
    return _from_mapping(kind, given, name) if isinstance(given, Mapping) else (given, [name])


def _from_mapping(kind: type[Any], given: Mapping[str, Any], path: str) -> tuple[Any, list[str]]:
    hints, values, paths = get_type_hints(kind), {}, []
    for name, value in given.items():
        if name not in hints:
            fix = f"is not a field{nearest(name, hints)}; the fields are {', '.join(hints)}"
            raise InvalidField(FieldViolation(f"{path}.{name}", fix))
        values[name], changed = _field(hints[name], value, f"{path}.{name}")
        paths += changed
    return kind(**values), paths


def _field(hint: Any, value: Any, path: str) -> tuple[Any, list[str]]:
    if is_dataclass(hint) and isinstance(value, Mapping):
        return _from_mapping(hint, value, path)  # type: ignore[arg-type]
    return argument_type(hint).convert(value, path), [path]

"""Docstrings of the SDK, read by griffe as the documentation's site reads them."""

import builtins
import inspect
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import griffe
from griffe import Docstring, DocstringSectionKind, Parser

import modelward
from modelward import (
    AsyncClient,
    Client,
    abtest,
    assignment,
    comparison,
    drift,
    drills,
    errors,
    findings,
    governance,
    inventory,
    lifecycle,
    retraining,
    reviews,
    schedules,
    worker,
)
from modelward._async.follow import AsyncFollower
from modelward._async.observe import AsyncObserver
from modelward._follow import Followed
from modelward._sync.follow import Follower
from modelward._sync.observe import Observer

MODULES: list[ModuleType] = [
    abtest,
    assignment,
    comparison,
    drift,
    drills,
    errors,
    inventory,
    findings,
    governance,
    lifecycle,
    retraining,
    reviews,
    schedules,
    worker,
]
"""The modules that users import from; `data` and `kinds` hold conversions that the SDK makes itself."""
HANDLES: list[type] = [AsyncObserver, Observer, AsyncFollower, Follower, Followed]
"""What methods of the clients return, and users do not construct."""
RESULTS = {DocstringSectionKind.returns, DocstringSectionKind.yields}


class Documented:
    """The sections of one docstring."""

    def __init__(self, text: str | None) -> None:
        self._text = inspect.cleandoc(text or "")

    @cached_property
    def _sections(self) -> list[Any]:
        return list(Docstring(self._text, parser=Parser.google, parser_options={"warnings": False}).parsed)

    @property
    def summary(self) -> str:
        return self._text.partition("\n")[0]

    @property
    def parameters(self) -> set[str]:
        named = (item for item in self._items(DocstringSectionKind.parameters) if item.description.strip())
        return {item.name for item in named}

    @property
    def raised(self) -> set[str]:
        listed = (str(item.annotation) for item in self._items(DocstringSectionKind.raises))
        return {name.strip() for names in listed for name in names.split(",")}

    @property
    def has_result(self) -> bool:
        return any(section.kind in RESULTS for section in self._sections)

    def _items(self, kind: DocstringSectionKind) -> Iterator[Any]:
        return (item for section in self._sections if section.kind is kind for item in section.value)


def public_classes() -> list[type]:
    """Return every class that a user names or is given."""
    listed = (getattr(modelward, name) for name in modelward.__all__)
    own = (member for module in MODULES for member in _own(module))
    found = {Client, AsyncClient, *HANDLES, *(one for one in (*listed, *own) if inspect.isclass(one))}
    return sorted(found, key=lambda cls: (cls.__module__, cls.__name__))


def public_functions() -> list[Any]:
    """Return every function that a user may call."""
    return [member for module in MODULES for member in _own(module) if inspect.isfunction(member)]


def _own(module: ModuleType) -> Iterator[Any]:
    names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
    members = (getattr(module, name) for name in names)
    return (member for member in members if getattr(member, "__module__", "").startswith(module.__name__))


def undocumented(function: Any, name: str) -> Iterator[str]:
    """Yield what the docstring of a function, a method or a property leaves out."""
    found = Documented(function.__doc__)
    if not found.summary:
        yield f"{name}: what it is"
    if not isinstance(function, property):
        signature = inspect.signature(function)
        yield from _differing(found.parameters, signature, name)
        if signature.return_annotation not in {None, "None"} and not found.has_result:
            yield f"{name}: what it returns"
    unknown = (raised for raised in found.raised if not hasattr(errors, raised) and not hasattr(builtins, raised))
    yield from (f"{name}: raises {raised}, which is no exception" for raised in sorted(unknown))


def undocumented_constructor(cls: type) -> Iterator[str]:
    """Yield the parameters of a constructor that neither it nor its class documents."""
    found = Documented(cls.__doc__).parameters | Documented(inspect.getattr_static(cls, "__init__").__doc__).parameters
    return _differing(found, inspect.signature(cls), cls.__name__)


def _differing(documented: set[str], signature: inspect.Signature, name: str) -> Iterator[str]:
    taken = set(signature.parameters) - {"self", "cls"}
    yield from (f"{name}({parameter})" for parameter in sorted(taken - documented))
    yield from (f"{name}({parameter}): is no parameter" for parameter in sorted(documented - taken))


def methods(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the methods and properties of a class that are written in this package, inherited ones included."""
    for name in dir(cls):
        member = inspect.getattr_static(cls, name)
        function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        if _is_public(name) and inspect.isfunction(function) and function.__module__.startswith("modelward"):
            yield name, member if isinstance(member, property) else function


def _is_public(name: str) -> bool:
    return name == "__getitem__" or not name.startswith("_")


def constructed_classes() -> list[type]:
    """Return the public classes whose constructor is written by hand."""
    return [cls for cls in public_classes() if cls not in HANDLES and _has_constructor(cls)]


def _has_constructor(cls: type) -> bool:
    return inspect.isfunction(vars(cls).get("__init__")) and not named_values(cls) and Protocol not in cls.__bases__


def described_values(cls: type) -> set[str]:
    """Return the fields and members of a class that have a docstring of their own."""
    found = (_described(sys.modules[one.__module__], one.__qualname__) for one in cls.__mro__ if _is_ours(one))
    return set().union(*found)


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith("modelward")


def _described(module: ModuleType, name: str) -> set[str]:
    members = _visited(Path(str(module.__file__)))[name].members.items()
    return {name for name, member in members if member.docstring and member.docstring.value.strip()}


@cache
def _visited(file: Path) -> griffe.Module:
    return griffe.visit(file.stem, file, file.read_text())


def named_values(cls: type) -> list[str]:
    """Return the fields of a dataclass and the members of an enumeration."""
    if is_dataclass(cls):
        return [field.name for field in fields(cls)]
    return [member.name for member in cls] if issubclass(cls, Enum) else []

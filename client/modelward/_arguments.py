"""Check the arguments of every public method before its body runs."""

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, TypeVar

from modelward._argument_types import ArgumentType, parameter_types
from modelward._field_names import name_arguments
from modelward.errors import FieldViolation, InvalidField
from modelward.paging import AsyncPager, Pager
from modelward.shared.suggestions import nearest

Class = TypeVar("Class", bound=type)
WITHOUT_DATA = {"self", "timeout"}
"""The arguments of methods such as `flush`, whose errors are about what was given to other methods before."""


def checks_arguments(cls: Class) -> Class:
    """Convert the arguments of every public method of a class, inherited ones included, by their annotations.

    Values that cannot be converted raise one `InvalidField` with a violation for each argument, instead of an arbitrary
    Python error deeper inside.
    """
    names = (name for name in dir(cls) if name == "__init__" or not name.startswith("_"))
    found = {name: inspect.getattr_static(cls, name) for name in names}
    methods = {name: method for name, method in found.items() if inspect.isfunction(method)}
    given = frozenset(one for method in methods.values() for one in inspect.signature(method).parameters)
    for name, method in methods.items():
        own = frozenset(inspect.signature(method).parameters)
        setattr(cls, name, _checked(method, given if own <= WITHOUT_DATA else own))
    return cls


def _checked(method: Callable[..., Any], arguments: Collection[str]) -> Callable[..., Any]:
    """Return a method that checks its arguments.

    Args:
        arguments: whose names errors of the server have: of methods called before, if it takes none of its own.
    """
    signature = inspect.signature(method)

    @functools.cache
    def types() -> Mapping[str, ArgumentType]:  # At the first call, because evaluating annotations takes time.
        return dict(parameter_types(method))

    def converted(args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise _misnamed(method, signature, args, kwargs, error) from None
        _convert(bound.arguments, types())
        return bound

    @functools.wraps(method)
    async def later(*args: Any, **kwargs: Any) -> Any:
        bound = converted(args, kwargs)
        with _naming(arguments):
            return await method(*bound.args, **bound.kwargs)

    @functools.wraps(method)
    def now(*args: Any, **kwargs: Any) -> Any:
        bound = converted(args, kwargs)
        with _naming(arguments):
            return _named(method(*bound.args, **bound.kwargs), arguments)

    return later if inspect.iscoroutinefunction(method) else now


@contextmanager
def _naming(arguments: Collection[str]) -> Iterator[None]:
    """Let errors of the server name these arguments."""
    try:
        yield
    except InvalidField as error:
        name_arguments(error, arguments)
        raise


def _named(result: Any, arguments: Collection[str]) -> Any:
    """Return what a method returned; errors of an iteration name its arguments, too."""
    if isinstance(result, Pager | AsyncPager):
        pages: Any = result._pages
        result._pages = lambda token, size: _named(pages(token, size), {*arguments, "token", "size"})
    if inspect.isgenerator(result):
        return _iterated(result, arguments)
    return _iterated_later(result, arguments) if isinstance(result, AsyncGenerator) else result


def _iterated(items: Iterator[Any], arguments: Collection[str]) -> Iterator[Any]:
    with _naming(arguments):
        yield from items


async def _iterated_later(items: AsyncGenerator[Any, Any], arguments: Collection[str]) -> AsyncIterator[Any]:
    async with aclosing(items):
        with _naming(arguments):
            async for item in items:
                yield item


def _convert(arguments: dict[str, Any], types: Mapping[str, ArgumentType]) -> None:
    violations: list[FieldViolation] = []
    for name in [name for name in types if name in arguments]:
        try:
            arguments[name] = types[name].convert(arguments[name], name)
        except InvalidField as error:
            violations += error.violations
    if violations:
        raise InvalidField(*violations)


def _misnamed(
    method: Callable[..., Any],
    signature: inspect.Signature,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    error: TypeError,
) -> InvalidField:
    """Report which argument is unknown or missing."""
    call, names = f"{method.__name__}()", list(signature.parameters)[1:]
    unknown = [name for name in kwargs if name not in names]
    if unknown:
        fix = f"is not an argument of {call}{nearest(unknown[0], names)}; its arguments are {', '.join(names)}"
        return InvalidField(FieldViolation(unknown[0], fix))
    given = {*kwargs, *names[: len(args) - 1]}
    required = (name for name in names if signature.parameters[name].default is inspect.Parameter.empty)
    missing = next((name for name in required if name not in given), "")
    return InvalidField(FieldViolation(missing or call, f"is missing; {call} needs it" if missing else str(error)))

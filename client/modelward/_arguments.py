"""Check the arguments of every public method before its body runs."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from modelward._argument_types import ArgumentType, parameter_types
from modelward._field_names import name_arguments
from modelward.errors import FieldViolation, InvalidField
from modelward.shared.suggestions import nearest

Class = TypeVar("Class", bound=type)


def checks_arguments(cls: Class) -> Class:
    """Convert the arguments of every public method of a class, inherited ones included, by their annotations.

    Values that cannot be converted raise one `InvalidField` with a violation for each argument, instead of an arbitrary
    Python error deeper inside.
    """
    for name in dir(cls):
        method = inspect.getattr_static(cls, name)
        if inspect.isfunction(method) and (name == "__init__" or not name.startswith("_")):
            setattr(cls, name, _checked(method))
    return cls


def _checked(method: Callable[..., Any]) -> Callable[..., Any]:
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
        try:
            return await method(*bound.args, **bound.kwargs)
        except InvalidField as error:
            name_arguments(error, signature.parameters)
            raise

    @functools.wraps(method)
    def now(*args: Any, **kwargs: Any) -> Any:
        bound = converted(args, kwargs)
        try:
            return method(*bound.args, **bound.kwargs)
        except InvalidField as error:
            name_arguments(error, signature.parameters)
            raise

    return later if inspect.iscoroutinefunction(method) else now


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

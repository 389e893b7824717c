"""Checks of what is given to methods of results, whose classes the checks of the client's arguments import."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelward.lifecycle import VersionRef


def check_given(field: str, value: object, wanted: Any) -> None:
    """Refuse a value of another type.

    Args:
        field: the name of the argument.
        value: what was given.
        wanted: the type.

    Raises:
        InvalidField: it is no instance of the type.
    """
    if not isinstance(value, wanted):
        from modelward._argument_types import argument_type, refused

        raise refused(field, value, f"give {argument_type(wanted).name}")


def given_version(version: object) -> "VersionRef":
    """Return the reference to a version that was given in any form.

    Raises:
        InvalidField: it is no version.
    """
    from modelward._coerce import as_ref

    return as_ref(version)

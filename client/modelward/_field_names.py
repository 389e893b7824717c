"""Names of fields of requests as the arguments of the caller's method, for the errors of the server."""

import re
from collections.abc import Collection, Mapping

from modelward.errors import FieldViolation, InvalidField

WRAPPERS = re.compile(r"^(header|options|batch|batches)\.")
"""Messages within requests of which arguments are fields."""
ARGUMENTS = {
    "name_prefix": "prefix",
    "time_column": "time",
    "group_column": "group",
    "id_column": "id",
    "ignored_columns": "ignore",
    "segment_column": "by",
    "segments.column": "by",
    "segments.regimes": "regimes",
    "scored_request_id": "request_id",
    "data.uri": "uri",
    "page_token": "token",
    "page_size": "size",
    "options.versions[0].version": "version",
    "options.versions[0].alias": "alias",
}
"""The arguments of fields that have other names."""
FIELDS = {"rows": "data", "columns": "data", "matrix": "data", "arrow_ipc": "data", "data": "X", "label": "y"}
"""The arguments of fields whose names are words of other meaning in an error's text."""
SOURCE = re.compile(r"^(\w+)\.(uri|blob|arrow_ipc)$")
"""The parts of a table's message: its argument is the table itself."""
WORDS = re.compile(rf"\b({'|'.join(map(re.escape, ARGUMENTS))})\b")


def name_arguments(error: InvalidField, arguments: Collection[str]) -> None:
    """Let an error name the arguments of a method in place of the fields of its request.

    Args:
        error: which is changed.
        arguments: of the method; what is none of them keeps its name.
    """
    _put(error, tuple(_told(violation, arguments) for violation in error.violations))


def rename_fields(error: InvalidField, names: Mapping[str, str]) -> None:
    """Let an error name fields otherwise.

    Args:
        error: which is changed.
        names: the new names of fields, which may have further parts; the first one that fits applies.
    """
    _put(error, tuple(FieldViolation(_renamed(one.field, names), one.description) for one in error.violations))


def _renamed(field: str, names: Mapping[str, str]) -> str:
    old = next((old for old in names if re.match(rf"{re.escape(old)}(?!\w)", field)), None)
    return field if old is None else names[old] + field.removeprefix(old)


def _put(error: InvalidField, told: tuple[FieldViolation, ...]) -> None:
    for before, after in zip(error.violations, told, strict=True):
        error.message = error.message.replace(str(before), str(after))
    error.violations, error.args = told, (error.message,)


def _told(violation: FieldViolation, arguments: Collection[str]) -> FieldViolation:
    field, description = (_in_words(text, arguments) for text in (violation.field, violation.description))
    inner = WRAPPERS.sub("", field)
    named = re.split(r"[.\[]", inner, maxsplit=1)[0]
    if named not in arguments and FIELDS.get(named) in arguments:
        return FieldViolation(SOURCE.sub(r"\1", FIELDS[named] + inner.removeprefix(named)), description)
    return FieldViolation(inner if named in arguments and field not in arguments else field, description)


def _in_words(text: str, arguments: Collection[str]) -> str:
    def argument(found: re.Match[str]) -> str:
        name = ARGUMENTS[found[0]]
        return name if name in arguments else found[0]

    return WORDS.sub(argument, text)

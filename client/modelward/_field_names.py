"""Names of fields of requests as the arguments of the caller's method, for the errors of the server."""

import re
from collections.abc import Collection

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
    "options.versions[0].version": "version",
    "options.versions[0].alias": "alias",
}
"""The arguments of fields that have other names."""
WORDS = re.compile(rf"\b({'|'.join(map(re.escape, ARGUMENTS))})\b")


def name_arguments(error: InvalidField, arguments: Collection[str]) -> None:
    """Let an error name the arguments of a method in place of the fields of its request.

    Args:
        error: which is changed.
        arguments: of the method; what is none of them keeps its name.
    """
    told = tuple(_told(violation, arguments) for violation in error.violations)
    for before, after in zip(error.violations, told, strict=True):
        error.message = error.message.replace(str(before), str(after))
    error.violations, error.args = told, (error.message,)


def _told(violation: FieldViolation, arguments: Collection[str]) -> FieldViolation:
    field, description = (_in_words(text, arguments) for text in (violation.field, violation.description))
    inner = WRAPPERS.sub("", field)
    named = re.split(r"[.\[]", inner, maxsplit=1)[0]
    return FieldViolation(inner if named in arguments and field not in arguments else field, description)


def _in_words(text: str, arguments: Collection[str]) -> str:
    def argument(found: re.Match[str]) -> str:
        name = ARGUMENTS[found[0]]
        return name if name in arguments else found[0]

    return WORDS.sub(argument, text)

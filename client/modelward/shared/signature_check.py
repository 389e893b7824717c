"""Whether a table has the columns of a signature."""

from collections.abc import Collection

from modelward._record import counted
from modelward.errors import FieldViolation, InvalidField
from modelward.shared.suggestions import nearest
from modelward.signature import Signature

MAX_LISTED = 5
"""Maximum number of missing columns that an error names."""


def check_columns(signature: Signature, columns: Collection[str], field: str) -> None:
    """Check that a table has the columns of the inputs; it may have others as well.

    Args:
        signature: the model's.
        columns: the names of the table's columns.
        field: the name of the table in the error.

    Raises:
        InvalidField: one is missing; or the inputs have no names, and the table has more or fewer columns.
    """
    if missing := [name for name in signature.names if name not in columns]:
        listed = ", ".join(f"{name!r}{nearest(name, columns)}" for name in missing[:MAX_LISTED])
        more = f" and {len(missing) - MAX_LISTED} more" if len(missing) > MAX_LISTED else ""
        fix = f"has no column {listed}{more}, which the model takes"
        raise InvalidField(FieldViolation(field, fix))
    if signature.inputs and not signature.names and len(columns) != len(signature.inputs):
        takes = f"has {counted(len(columns), 'column')}, but the model takes {len(signature.inputs)}"
        raise InvalidField(FieldViolation(field, takes))

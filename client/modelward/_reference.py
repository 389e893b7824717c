"""Reference data of a version that is to be registered: checked, and converted for the request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelward._argument_types import as_text
from modelward._row_keys import key_name, with_keys
from modelward._transfers import describe_file
from modelward.errors import FieldViolation, InvalidField
from modelward.shared.model_files import Saved
from modelward.v1.common_pb2 import Dataset

if TYPE_CHECKING:  # It imports numpy, which takes as long as the rest of the package.
    from modelward.data import Columns

    CheckedReference = Columns | str | None
    """Columns, or the URI of files that the server reads, or nothing."""
else:
    CheckedReference = Any


@dataclass(frozen=True)
class ReferenceArguments:
    """Reference data, and the names of their columns that are not features."""

    data: CheckedReference
    ignored: Sequence[str] = ()
    time: str = ""
    group: str = ""


def checked_reference(
    reference: Any, ignored: Sequence[str], time: Any = None, group: Any = None
) -> ReferenceArguments:
    """Convert reference data to columns; a text is the URI of files that the server reads.

    Raises:
        InvalidField: they are not a table, or not text in UTF-8, or a named column does not exist.
    """
    if reference is None:
        for argument, given in (("ignore", ignored or None), ("time", time), ("group", group)):
            if given is not None:
                raise InvalidField(FieldViolation(argument, "has no effect without reference; give both"))
        return ReferenceArguments(None)
    if isinstance(reference, str):
        names = key_name(time, "time"), key_name(group, "group")
        return ReferenceArguments(as_text(reference, "reference"), ignored, *names)
    from modelward.data import named_columns, to_reference_columns

    table = with_keys(named_columns(reference, field="reference"), time, group)
    ignored = table.not_ignored(ignored)
    columns = to_reference_columns(table.columns, None, "reference", ignored)
    return ReferenceArguments(columns, ignored, table.time, table.group)


def inline_reference(columns: Columns) -> Dataset | None:
    """Return reference data as a part of a message, or None if they are too large for that."""
    from modelward.data import INLINE_BYTES, size_of, to_dataset

    return to_dataset(columns) if size_of(columns) <= INLINE_BYTES else None


def save_reference(columns: Columns, folder: str) -> Saved:
    """Write reference data to a file, as an Arrow stream.

    Raises:
        ImportError: pyarrow is not installed.
    """
    from modelward.data import to_arrow

    path = Path(folder, "reference.arrow")
    with path.open("wb") as file:
        file.writelines(to_arrow(columns))
    return Saved(Path(folder), (describe_file(path, path.name),), "", {})

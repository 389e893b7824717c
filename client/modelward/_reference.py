"""Reference data of a version that is to be registered: checked, and converted for the request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelward._argument_types import as_text
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


def checked_reference(reference: Any, ignored: Sequence[str]) -> CheckedReference:
    """Convert reference data to columns; a text is the URI of files that the server reads.

    Raises:
        InvalidField: they are not a table, or not text in UTF-8, or `ignored` names a column that does not exist.
    """
    if reference is None and ignored:
        raise InvalidField(FieldViolation("ignore", "has no effect without reference; give both"))
    if isinstance(reference, str):
        return as_text(reference, "reference")
    if reference is None:
        return None
    from modelward.data import to_reference_columns

    return to_reference_columns(reference, None, "reference", ignored)


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

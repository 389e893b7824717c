"""Arrow batches of untrusted streams, within the memory budget for tables."""

from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField, LimitReached
from modelward.kinds import from_arrow, is_arrow_text, why_not_arrow
from modelward.shared.suggestions import unknown_columns
from modelward_server.storage.arrow_messages import CheckedStream
from modelward_server.storage.table_memory import MemoryReservation

PART_BYTES = 32 << 20
"""Approximate size of the parts into which a large batch is split."""
ZERO_COPY_TYPES = (pa.float64(), pa.int64())
"""Types that numpy takes without a copy, where no value is missing."""
VIEW = np.dtype([("size", "<i4"), ("rest", "V12")])
"""Arrow's layout of one text in a column of string views."""
MAX_VIOLATIONS = 20
"""Violations reported for one call: the trailers have room for a few thousand bytes."""
OBJECT_BYTES = 64
"""Memory that a text takes in Python in addition to its characters."""


def read_arrow(
    source: pa.NativeFile, field: str, ignored: Collection[str] = (), most: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Read the batches of an Arrow IPC stream, splitting large ones into parts.

    Args:
        field: the path of the stream in its request, for errors.
        ignored: columns that are left out, whatever they hold.
        most: maximum bytes of a batch; None for that of all tables.

    Raises:
        InvalidField: it is no such stream, is truncated, or holds values other than numbers, text, booleans and times.
        LimitReached: a batch takes more memory than one may, or other tables hold too much.
    """
    with MemoryReservation(field, most) as reservation, arrow_errors(field, "is no complete Arrow IPC stream"):
        stream = CheckedStream(source, reservation, isinstance(source, pa.BufferReader | pa.MemoryMappedFile))
        with pa.ipc.open_stream(pa.PythonFile(stream, mode="r")) as reader:
            check_schema(reader.schema, field, ignored)
            while (yield from _next_parts(reader, reservation, ignored)):
                pass


def arrow_columns(batch: pa.RecordBatch, field: str, ignored: Collection[str] = ()) -> Columns:
    """Convert the columns of an Arrow batch.

    Raises:
        InvalidField: a column holds values other than numbers, text, booleans or times.
        LimitReached: there is not enough memory for it.
    """
    with arrow_errors(field, "cannot be converted"):
        named = [(i, name) for i, name in enumerate(batch.schema.names) if name not in ignored]
        return {name: from_arrow(batch.column(i), f"{field}[{name!r}]") for i, name in named}


def _next_parts(
    reader: pa.RecordBatchReader, reservation: MemoryReservation, ignored: Collection[str]
) -> Generator[pa.RecordBatch, None, bool]:
    """Yield the next batch in parts; return False at the end. Its memory is released when this has ended."""
    try:
        batch = reader.read_next_batch()
    except StopIteration:
        return False
    batch = batch.select([name for name in batch.schema.names if name not in ignored]) if ignored else batch
    batch.validate(full=True)
    size = sum(map(_unpacked_bytes, batch.columns))
    reservation.add(size)
    rows = max(1, batch.num_rows * PART_BYTES // max(1, size))
    for start in range(0, batch.num_rows or 1, rows):
        yield batch.slice(start, rows)
    return True


def _unpacked_bytes(values: pa.Array) -> int:
    """Return the additional memory that a column takes as a Python array compared with Arrow's.

    Dictionary-encoded text counts for each row.
    """
    if pa.types.is_dictionary(values.type) and is_arrow_text(values.type.value_type):
        sizes = _text_sizes(values.dictionary)
        text = int(sizes[values.indices.drop_null().to_numpy()].sum())
        if pa.types.is_string_view(values.dictionary.type):
            text += int(sizes.sum())  # Views may show the same text repeatedly; it is copied for each.
        return len(values) * OBJECT_BYTES + text * _characters(values.dictionary)
    if is_arrow_text(values.type):
        return len(values) * OBJECT_BYTES + int(_text_sizes(values).sum()) * _characters(values)
    if values.type in ZERO_COPY_TYPES and not values.null_count:
        return 0
    return len(values) * (OBJECT_BYTES if pa.types.is_boolean(values.type) and values.null_count else 8)


def _text_sizes(text: pa.Array) -> NDArray[np.int64]:
    """Return the size of each text in bytes, 0 where it is missing."""
    if not pa.types.is_string_view(text.type):
        return np.asarray(pc.binary_length(text).fill_null(0).to_numpy(), np.int64)
    views = np.frombuffer(text.buffers()[1], VIEW, len(text), text.offset * VIEW.itemsize)
    return np.where(text.is_valid().to_numpy(zero_copy_only=False), views["size"], 0).astype(np.int64)


def _characters(text: pa.Array) -> int:
    """Return Python's maximum bytes for one byte of the text: one character beyond ASCII widens all of them."""
    if pa.types.is_string_view(text.type):
        return 4  # Arrow has no such check for string views.
    return 1 if pc.all(pc.string_is_ascii(text)).as_py() in {True, None} else 4


class PresentColumns(frozenset[str]):
    """Columns to leave out that must be in the data; a name that is not is misspelt."""


def check_ignored(names: Sequence[str], ignored: Collection[str]) -> None:
    """Reject a column to leave out that must be in the data and is not.

    Raises:
        InvalidField: naming the nearest.
    """
    unknown = unknown_columns(sorted(ignored), names) if isinstance(ignored, PresentColumns) else []
    if unknown:
        raise InvalidField(*(FieldViolation("ignored_columns", fix) for fix in unknown[:MAX_VIOLATIONS]))


def check_schema(schema: pa.Schema, field: str, ignored: Collection[str] = ()) -> None:
    """Refuse a schema that is not a table of uniquely named columns of supported types.

    Raises:
        InvalidField: a name occurs twice, a column is nested or of an unsupported type, or one to leave out is missing.
    """
    duplicates = sorted(name for name, times in Counter(schema.names).items() if times > 1)
    if duplicates:
        raise InvalidField(FieldViolation(field, f"has columns of the same name: {', '.join(duplicates)}"))
    check_ignored(schema.names, ignored)
    for one in schema:
        if one.name not in ignored and (why := why_not_arrow(one.type)):
            raise InvalidField(FieldViolation(f"{field}[{one.name!r}]", why))


@contextmanager
def arrow_errors(field: str, fix: str) -> Iterator[None]:
    """Convert the errors that Arrow raises.

    Raises:
        InvalidField: with `fix` and the reason.
        LimitReached: there was not enough memory.
    """
    try:
        yield
    except MemoryError as error:
        fix = "the server lacks the memory to decode it; send it in smaller batches"
        raise LimitReached(f"{field}: {fix}", limit="memory", field=field) from error
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise InvalidField(FieldViolation(field, f"{fix}: {str(error).partition('.')[0][:300]}")) from error

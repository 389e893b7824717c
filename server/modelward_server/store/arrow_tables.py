"""Arrow batches of untrusted streams, within the budget for tables."""

from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modelward.errors import FieldViolation, InvalidField, LimitReached
from modelward_server.store.arrow_messages import CheckedStream
from modelward_server.store.table_memory import Share

PART_BYTES = 32 << 20
"""About how large the parts are in which a large batch is handed on."""
AS_THEY_ARE = (pa.float64(), pa.int64())
"""Types that numpy takes as they are, where nothing is missing."""
OBJECT_BYTES = 64
"""What a text takes in Python beside its characters."""


def read_arrow(source: pa.NativeFile, field: str) -> Iterator[pa.RecordBatch]:
    """Read the batches of an Arrow IPC stream, large ones in parts.

    Args:
        field: where the stream stands in its request, for errors.

    Raises:
        InvalidField: it is no such stream, breaks off, or holds something else than numbers, text and truth values.
        LimitReached: a batch takes more memory than one may, or others hold too much.
    """
    with Share(field) as share, readable(field, "is no complete Arrow IPC stream"):
        stream = CheckedStream(source, share, isinstance(source, pa.BufferReader | pa.MemoryMappedFile))
        with pa.ipc.open_stream(pa.PythonFile(stream, mode="r")) as reader:
            check_schema(reader.schema, field)
            while (yield from _next_parts(reader, share)):
                pass


def _next_parts(reader: pa.RecordBatchReader, share: Share) -> Generator[pa.RecordBatch, None, bool]:
    """Give the next batch in parts; False at the end. Its memory is given back when this has ended."""
    try:
        batch = reader.read_next_batch()
    except StopIteration:
        return False
    batch.validate(full=True)
    size = sum(map(_unpacked_bytes, batch.columns))
    share.add(size)
    rows = max(1, batch.num_rows * PART_BYTES // max(1, size))
    for start in range(0, batch.num_rows or 1, rows):
        yield batch.slice(start, rows)
    return True


def _unpacked_bytes(values: pa.Array) -> int:
    """Return how much memory a column takes as an array of Python's beside what it takes as one of Arrow's.

    Text of a dictionary counts for each row.
    """
    if pa.types.is_dictionary(values.type) and _is_text(values.type.value_type):
        sizes = pc.binary_length(values.dictionary).fill_null(0).to_numpy().astype(np.int64)
        text = int(sizes[values.indices.drop_null().to_numpy()].sum())
        return len(values) * OBJECT_BYTES + text * _characters(values.dictionary)
    if _is_text(values.type):
        text = pc.sum(pc.binary_length(values)).as_py() or 0
        return len(values) * OBJECT_BYTES + text * _characters(values)
    if values.type in AS_THEY_ARE and not values.null_count:
        return 0
    return len(values) * (OBJECT_BYTES if pa.types.is_boolean(values.type) and values.null_count else 8)


def _characters(text: pa.Array) -> int:
    """Return how many bytes of Python's one byte of the text may take: one character beyond ASCII widens all."""
    return 1 if pc.all(pc.string_is_ascii(text)).as_py() in {True, None} else 4


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def check_schema(schema: pa.Schema, field: str) -> None:
    """Refuse what is no table of named columns of known types.

    Raises:
        InvalidField: a name comes twice, or a column is nested or of an unknown type.
    """
    twice = sorted(name for name, times in Counter(schema.names).items() if times > 1)
    if twice:
        raise InvalidField(FieldViolation(field, f"has columns of the same name: {', '.join(twice)}"))
    for one in schema:
        kind = one.type.value_type if pa.types.is_dictionary(one.type) else one.type
        if not any(is_known(kind) for is_known in _KNOWN):
            fix = f"is of type {one.type}; send numbers, text or truth values"
            raise InvalidField(FieldViolation(f"{field}[{one.name!r}]", fix))


_KNOWN: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_floating,
    pa.types.is_integer,
    pa.types.is_decimal,
    pa.types.is_boolean,
    _is_text,
)


@contextmanager
def readable(field: str, fix: str) -> Iterator[None]:
    """Turn whatever Arrow raises into an error of ours.

    Raises:
        InvalidField: says `fix` and why.
        LimitReached: there was no memory.
    """
    try:
        yield
    except MemoryError as error:
        fix = "the server has no memory to unpack it; send it in smaller batches"
        raise LimitReached(f"{field}: {fix}", limit="memory", field=field) from error
    except (pa.ArrowException, OSError, EOFError, ValueError) as error:
        raise InvalidField(FieldViolation(field, f"{fix}: {str(error).partition('.')[0][:300]}")) from error

"""Limits of calls to score: a few kilobytes may decode to millions of rows, and each has an answer."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pyarrow as pa

from modelward.errors import LimitReached
from modelward_server.runtime.executors import Executors
from modelward_server.sandbox.sandbox import Run
from modelward_server.storage.arrow_tables import read_arrow
from modelward_server.storage.table_memory import MIB, MemoryReservation

MAX_ROWS = 1_000_000
"""Rows of one call, as many as `top_k` may ask for."""
MAX_DECODED_BYTES = 64 * MIB
"""Of the rows of one call."""
MAX_DECODED_AT_ONCE = MIB
"""Of a small stream that is decoded on the event loop; compressed rows may be more, and are decoded in a thread."""
MAX_NUMBERS = 8_000_000
"""Predictions and probabilities in the answer of a version: 64 MB."""
MANY_NUMBERS = 10_000
"""An answer with more of them is made in a thread: on the event loop, every other call would wait for it."""

SEND_FEWER = "send them in several calls, or as the parts of a stream (ScoreStream)"

Answer = TypeVar("Answer")


def check_rows(rows: int, field: str) -> None:
    """Refuse more rows than one call may have.

    Raises:
        LimitReached: there are more.
    """
    if rows > MAX_ROWS:
        raise LimitReached(f"{field}: has more than {MAX_ROWS:,} rows; {SEND_FEWER}", limit="scored_rows", field=field)


def read_rows(stream: bytes, field: str, most: int) -> Iterator[pa.RecordBatch]:
    """Read the batches of an Arrow IPC stream.

    Args:
        stream: the stream.
        field: its path in its request, for errors.
        most: maximum bytes into which it decodes.

    Raises:
        LimitReached: it decodes to more, or has too many rows.
        InvalidField: see `read_arrow`.
    """
    rows = total = 0
    size = MemoryReservation(field, most)
    for batch in read_arrow(pa.BufferReader(stream), field, most=most):
        rows, total = rows + batch.num_rows, total + batch.nbytes
        check_rows(rows, field)
        size.check(total)
        yield batch


async def in_thread_if_many(executors: Executors, run: Run, make: Callable[..., Answer], *given: Any) -> Answer:
    """Return the answer that a function makes of predictions, in a thread where there are many.

    Raises:
        LimitReached: there are more than an answer may hold. Exceptions of the function propagate.
    """
    numbers = len(run.predicted) * (1 + (0 if run.probabilities is None else len(run.classes)))
    if numbers > MAX_NUMBERS:
        has = f"the answer would have {numbers:,} numbers, and at most {MAX_NUMBERS:,} are sent"
        raise LimitReached(f"{has}; {SEND_FEWER}", limit="scored_rows")
    return make(*given) if numbers <= MANY_NUMBERS else await executors.compute.run(make, *given)

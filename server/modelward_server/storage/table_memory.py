"""Memory budget for the decoded tables of requests: one for all calls under way.

A few hundred bytes may expand to gigabytes, by compression, dictionaries and declared lengths. So decoding a table
reserves memory from the budget first, and is refused where that does not suffice.
"""

import sys
import threading
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from modelward.data import Columns
from modelward.errors import LimitReached
from modelward_server.runtime.admission import RETRY_SECONDS

MIB = 1 << 20


class TableMemory:
    """The memory budget of this process.

    Args:
        limit: bytes that the tables of all calls may take at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """May be changed at any time; existing reservations are kept."""
        self._held = 0
        self._lock = threading.RLock()  # A finalizer may run within a change, in the same thread.

    @property
    def held(self) -> int:
        """Bytes that are reserved now."""
        return self._held

    @property
    def table_limit(self) -> int:
        """Maximum bytes of one table, or of one batch of a table read in parts: half, to leave room for others."""
        return self.limit // 2

    def reserve(self, size: int) -> None:
        """Reserve memory.

        Raises:
            LimitReached: other tables hold too much of it.
        """
        with self._lock:
            if self._held + size > self.limit:
                fix = "the memory for tables is in use by other calls; retry"
                raise LimitReached(fix, RETRY_SECONDS, limit="table_memory")
            self._held += size

    def release(self, size: int) -> None:
        with self._lock:
            self._held -= size


MEMORY = TableMemory(2048 * MIB)
"""The budget of this process; the setting `table_memory_mb` sets its limit."""


class MemoryReservation:
    """The memory reserved for one table. The end of its `with` block releases what was not transferred to arrays.

    Args:
        field: the path of the table in its request, for errors.
        most: maximum bytes of the table, or of one batch of it; None for that of all tables.
    """

    def __init__(self, field: str, most: int | None = None) -> None:
        self.field = field
        self._most = most
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.resize(0)

    def add(self, size: int) -> None:
        """Reserve more.

        Raises:
            LimitReached: the table exceeds the maximum for one, or other tables hold too much.
        """
        self.check(self.size + size)
        MEMORY.reserve(size)
        self.size += size

    def check(self, size: int) -> None:
        """Refuse a size beyond the maximum for one table.

        Raises:
            LimitReached: it is too large.
        """
        if size > MEMORY.table_limit:
            raise too_large(self.field)
        if self._most is not None and size > self._most:
            fix = f"decodes to more than {self._most // MIB:,} MiB, the maximum of one call; send it in several"
            raise LimitReached(f"{self.field}: {fix}", limit="table_size", field=self.field)

    def resize(self, size: int) -> None:
        """Reserve or release memory until `size` bytes are reserved.

        Raises:
            See `add`.
        """
        if size > self.size:
            self.add(size - self.size)
        else:
            MEMORY.release(self.size - size)
            self.size = size

    def transfer_to(self, columns: Columns) -> None:
        """Tie the reservation to the lifetime of the columns' arrays, for as many bytes as they take.

        Raises:
            See `add`.
        """
        sizes = {name: bytes_of({name: values}) for name, values in columns.items()}
        self.resize(sum(sizes.values()))
        for name, values in columns.items():
            weakref.finalize(values, MEMORY.release, sizes[name]).atexit = False
            self.size -= sizes[name]


def too_large(field: str) -> LimitReached:
    """Return the error for a table that takes more than one may."""
    maximum = f"{MEMORY.table_limit // MIB:,} MiB, the maximum for one table or one batch of it"
    fix = "send it in smaller batches, or raise MODELWARD_TABLE_MEMORY_MB"
    return LimitReached(f"{field}: decodes to more than {maximum}; {fix}", limit="table_memory", field=field)


def bytes_of(columns: Columns) -> int:
    """Return the memory that columns take, including their text; text that several rows share counts for each."""
    return sum(
        values.nbytes + (_text_bytes(values.tolist()) if values.dtype == object else 0) for values in columns.values()
    )


def _text_bytes(values: Iterable[object]) -> int:
    return sum(sys.getsizeof(value) for value in values)

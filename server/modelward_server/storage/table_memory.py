"""The memory that tables of requests may take once they are unpacked: one budget for all calls under way.

A few hundred bytes may stand for gigabytes, by compression, dictionaries and declared lengths. So whatever unpacks a
table takes from the budget first, and is refused where that does not suffice.
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
    """The budget of this process.

    Args:
        limit: bytes that the tables of all calls may take at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """May be changed at any time; what is held stays held."""
        self._held = 0
        self._lock = threading.RLock()  # A finalizer may run within a change, in the same thread.

    @property
    def held(self) -> int:
        """Bytes that are taken now."""
        return self._held

    @property
    def table_limit(self) -> int:
        """Bytes that one table, or one batch of a table that is read in parts, may take: half, for the others' sake."""
        return self.limit // 2

    def take(self, size: int) -> None:
        """Take memory.

        Raises:
            LimitReached: others hold too much of it.
        """
        with self._lock:
            if self._held + size > self.limit:
                fix = "the memory for tables is taken by other calls; ask again"
                raise LimitReached(fix, RETRY_SECONDS, limit="table_memory")
            self._held += size

    def give_back(self, size: int) -> None:
        with self._lock:
            self._held -= size


MEMORY = TableMemory(2048 * MIB)
"""The budget of this process, which has one memory; the setting `table_memory_mb` sets its limit."""


class Share:
    """What one table has taken. Use it in a `with` block, whose end gives back what was not left to arrays.

    Args:
        field: where the table stands in its request, for errors.
    """

    def __init__(self, field: str) -> None:
        self.field = field
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.resize(0)

    def add(self, size: int) -> None:
        """Take more.

        Raises:
            LimitReached: the table is larger than one may be, or others hold too much.
        """
        self.check(self.size + size)
        MEMORY.take(size)
        self.size += size

    def check(self, size: int) -> None:
        """Refuse a size that one table may not have.

        Raises:
            LimitReached: it is too large.
        """
        if size > MEMORY.table_limit:
            raise too_large(self.field)

    def resize(self, size: int) -> None:
        """Take or give back, so that so many bytes are held.

        Raises:
            as `add`.
        """
        if size > self.size:
            self.add(size - self.size)
        else:
            MEMORY.give_back(self.size - size)
            self.size = size

    def leave_to(self, columns: Columns) -> None:
        """Hold as much as the columns take until nobody has them any more, and no longer for this share.

        Raises:
            as `add`.
        """
        sizes = {name: bytes_of({name: values}) for name, values in columns.items()}
        self.resize(sum(sizes.values()))
        for name, values in columns.items():
            weakref.finalize(values, MEMORY.give_back, sizes[name]).atexit = False
            self.size -= sizes[name]


def too_large(field: str) -> LimitReached:
    """Return what is raised of a table that takes more than one may."""
    most = f"{MEMORY.table_limit // MIB:,} MiB, the most for one table or one batch of it"
    way_out = "send it in smaller batches, or raise MODELWARD_TABLE_MEMORY_MB"
    return LimitReached(f"{field}: unpacks to more than {most}; {way_out}", limit="table_memory", field=field)


def bytes_of(columns: Columns) -> int:
    """Return how much memory columns take, their text included; text that several rows share counts for each."""
    return sum(
        values.nbytes + (_text_bytes(values.tolist()) if values.dtype == object else 0) for values in columns.values()
    )


def _text_bytes(values: Iterable[object]) -> int:
    return sum(sys.getsizeof(value) for value in values)

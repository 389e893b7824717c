"""Check the tables of statistics in a CatBoost file: for each category, or combination, what the training saw of it.

A table finds the entry of a category by a hash: a list of buckets, a power of two of them, of which an empty one ends a
search. The loader checks none of that.
"""

from dataclasses import dataclass

import numpy as np

from modelward.formats.flatbuffer import Table, read
from modelward.formats.tree_structure import MAX_CLASSES, check_range, refuse

BUCKET = np.dtype([("hash", "<u8"), ("entry", "<u4")])
EMPTY = np.uint64(2**64 - 1)
NOT_FOUND = np.uint32(2**32 - 1)
BORDERS, BUCKETS, MEAN, FLOAT_MEAN, COUNTER, FREQUENCY = range(6)
"""The kinds of statistics."""
PER_CLASS = (BORDERS, BUCKETS)
"""The kinds whose entries have a count of each class."""
BYTES = {MEAN: 8, FLOAT_MEAN: 8, COUNTER: 4, FREQUENCY: 4}
SPLIT = np.dtype([("column", "<i4"), ("value", "<i4")])
Key = tuple[int, int, bytes, bytes, bytes]


@dataclass(frozen=True)
class Combination:
    """A statistic that a split is on."""

    key: Key
    """What it is a statistic of: the kind, the classifier, and the columns and splits."""
    border: int
    """The class at which its counts are divided."""


def combination_of(statistic: Table, used: set[int]) -> Combination:
    """Return the statistic of a column that the splits use.

    Args:
        statistic: the column's table.
        used: the columns of categories.

    Raises:
        InvalidField: it is of a column that the model does not use.
    """
    ctr = statistic.table(0)
    base = None if ctr is None else ctr.table(0)
    if ctr is None or base is None:
        refuse("the file has a split on statistics of nothing")
    key = _key(base)
    if not set(np.frombuffer(key[2], "<i4").tolist()) <= used:
        refuse("the file has statistics of a column of categories that it does not use")
    return Combination(key, ctr.number(1, "<i", 0))


def check_tables(rest: memoryview, needed: list[Combination]) -> int:
    """Check the tables, and return where they end.

    Args:
        rest: the bytes of the file after its trees.
        needed: the statistics that splits are on.

    Raises:
        InvalidField: a length, a bucket or an entry is wrong, or a table is missing.
    """
    classes: dict[Key, int] = {}
    at = 4
    for _ in range(read(rest, "<I", 0)):
        length = read(rest, "<I", at)
        if length > len(rest) - at - 4:
            refuse("a table of statistics is longer than the file")
        key, count = _check_table(Table.root(rest[at + 4 : at + 4 + length]))
        if key in classes:
            refuse("the file has two tables of the same statistics")
        classes[key] = count
        at += 4 + length
    for one in needed:
        if one.key not in classes:
            refuse("the file has a split on statistics that it does not have")
        if one.key[0] in PER_CLASS and not 0 <= one.border < classes[one.key]:
            refuse(f"a split is on class {one.border} of statistics that have {classes[one.key]} classes")
    return at


def _check_table(table: Table) -> tuple[Key, int]:
    """Check that each bucket refers to an entry that there is; return what it is of, and the number of classes."""
    base, classes = table.table(0), table.number(4, "<i", 0)
    if base is None:
        refuse("the file has a table of statistics of nothing")
    key = _key(base)
    raw = table.vector(1, np.uint8)
    if len(raw) % BUCKET.itemsize or (len(raw) // BUCKET.itemsize).bit_count() != 1:
        refuse(f"a table of statistics has {len(raw):,} bytes of buckets, which are not a power of two of them")
    buckets = raw.view(BUCKET)
    if not (buckets["hash"] == EMPTY).any():
        refuse("a table of statistics has no empty bucket, at which a search ends")
    check_range(np.array([classes]), 0, MAX_CLASSES, "the number of classes of statistics")
    size = BYTES.get(key[0], 4 * max(classes, 2))
    entries = buckets["entry"][(buckets["hash"] != EMPTY) & (buckets["entry"] != NOT_FOUND)]
    check_range(entries, 0, len(table.vector(2, np.uint8)) // size - 1, "a bucket of statistics")
    return key, classes


def _key(base: Table) -> Key:
    kind, columns = base.number(1, "<b", 0), base.table(0)
    if kind not in {*PER_CLASS, *BYTES} or columns is None:
        refuse(f"the file has statistics of the kind {kind}, or of no columns")
    parts = [columns.vector(field, dtype).tobytes() for field, dtype in ((0, "<i4"), (1, SPLIT), (2, SPLIT))]
    return kind, base.number(2, "<i", 0), parts[0], parts[1], parts[2]

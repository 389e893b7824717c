"""The same counts, made by a dask cluster, for data that one machine would take too long to read.

Each task reads a row group and counts it on the reference's values; counts add up, in a tree, so the report is the one
that a single machine would make of data which it cannot keep whole.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField
from modelward_server.drift.profile import Profile
from modelward_server.drift.sample import Live, Parts, Sample, sampled_every
from modelward_server.runtime.dask_cluster import connected
from modelward_server.storage.parquet import Piece

Read = Callable[[Any], Columns]
"""Turns an Arrow batch into columns."""


def count_on_cluster(
    scheduler: str, pieces: Sequence[Piece], read: Read, profiles: Mapping[str, Profile], field: str
) -> Live:
    """Take in live data on a cluster.

    Args:
        scheduler: its address, as `tcp://10.0.0.5:8786`.

    Raises:
        InvalidField: a feature is lacking, unknown or of another kind, or there is no row.
        StoreUnavailable: the cluster does not answer.
    """
    rows = sum(piece.rows for piece in pieces)
    if not rows:
        raise InvalidField(FieldViolation(field, "has no rows; send at least one"))
    with connected(scheduler) as client:
        known = client.scatter(dict(profiles), broadcast=True)
        parts = client.map(_count, pieces, read=read, profiles=known, field=field, rows=rows)
        while len(parts) > 1:
            parts = [client.submit(_merged, parts[i : i + 2], known, field) for i in range(0, len(parts), 2)]
        return _live(parts[0].result(), profiles, field)


def _count(piece: Piece, read: Read, profiles: Mapping[str, Profile], field: str, rows: int) -> Parts:
    """Count a piece; run by a worker."""
    live = Live(profiles, field, sample=Sample(piece.first_row, sampled_every(rows)))
    for batch in piece.batches():
        live.add(read(batch))
    return live.parts()


def _merged(parts: Sequence[Parts], profiles: Mapping[str, Profile], field: str) -> Parts:
    first, *others = (_live(part, profiles, field) for part in parts)
    for other in others:
        first.merge(other)
    return first.parts()


def _live(parts: Parts, profiles: Mapping[str, Profile], field: str) -> Live:
    live = Live(profiles, field)
    live.take(parts)
    return live

"""Distributed histogram samples: counts of live data computed on a dask cluster, for large data.

Each task reads a row group and counts it at the reference's values; the counts are added in a tree, so the report
equals the one that a single machine would make of data that it cannot hold in memory.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField
from modelward_server.drift.profile import Profile
from modelward_server.drift.sample import LiveSample, SampleCounts, sample_of
from modelward_server.runtime.dask_cluster import connected
from modelward_server.storage.parquet import Piece

Read = Callable[[Any], Columns]
"""Converts an Arrow batch into columns."""


def count_on_cluster(
    scheduler: str, pieces: Sequence[Piece], read: Read, profiles: Mapping[str, Profile], field: str
) -> LiveSample:
    """Count live data on a dask cluster.

    Args:
        scheduler: the address of its scheduler, such as `tcp://10.0.0.5:8786`.
        pieces: the row groups to read.
        read: converts an Arrow batch into columns.
        profiles: the profiles of references with the same features, by name.
        field: the name of the data in errors.

    Raises:
        InvalidField: a feature is missing, unknown or of another kind, or there is no row.
        StoreUnavailable: the cluster does not respond.
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


def _count(piece: Piece, read: Read, profiles: Mapping[str, Profile], field: str, rows: int) -> SampleCounts:
    """Count a row group; runs on a dask worker."""
    live = LiveSample(profiles, field, sample=sample_of(profiles, piece.first_row, rows))
    for batch in piece.batches():
        live.add(read(batch))
    return live.parts()


def _merged(parts: Sequence[SampleCounts], profiles: Mapping[str, Profile], field: str) -> SampleCounts:
    first, *others = (_live(part, profiles, field) for part in parts)
    for other in others:
        first.merge(other)
    return first.parts()


def _live(parts: SampleCounts, profiles: Mapping[str, Profile], field: str) -> LiveSample:
    live = LiveSample(profiles, field)
    live.take(parts)
    return live

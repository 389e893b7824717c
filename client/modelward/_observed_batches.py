"""Batches of live rows as messages: those with the same columns in one table, which is encoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from modelward.v1 import drift_pb2 as pb

if TYPE_CHECKING:  # It imports numpy, which takes as long as the rest of the package.
    from modelward.data import Columns

MAX_BATCHES = 256
"""Maximum number of batches of one message."""


class QueuedBatch(NamedTuple):
    """The rows of a batch, when they were observed, and the header of the call that sends them."""

    header: pb.ObserveHeader
    columns: Columns
    seen_at: Timestamp


def to_requests(batches: Sequence[QueuedBatch], first: int) -> Iterator[pb.ObserveRequest]:
    """Yield the messages that send batches, of which the first has the number `first`."""
    from modelward.data import to_dataset

    for run in _runs(batches):
        if len(run) == 1:
            data = to_dataset(run[0].columns)
            yield pb.ObserveRequest(batch=pb.ObserveBatch(number=first, data=data, seen_at=run[0].seen_at))
        else:
            yield pb.ObserveRequest(batches=_together(run, first))
        first += len(run)


def _together(run: Sequence[QueuedBatch], first: int) -> pb.ObserveBatches:
    import numpy as np

    from modelward.data import to_dataset

    columns = {name: np.concatenate([one.columns[name] for one in run]) for name in run[0].columns}
    rows = [len(next(iter(one.columns.values()))) for one in run]
    return pb.ObserveBatches(
        first_number=first, data=to_dataset(columns), rows=rows, seen_at=[one.seen_at for one in run]
    )


def _runs(batches: Sequence[QueuedBatch]) -> Iterator[list[QueuedBatch]]:
    """Divide batches into those that fit into one table and one message."""
    from modelward.data import INLINE_BYTES, size_of

    run: list[QueuedBatch] = []
    kinds: list[Any] = []
    size = 0
    for one in batches:
        own_kinds, own_size = [_kind(*column) for column in one.columns.items()], size_of(one.columns)
        if run and (own_kinds != kinds or len(run) == MAX_BATCHES or size + own_size > INLINE_BYTES):
            yield run
            run, size = [], 0
        run.append(one)
        kinds, size = own_kinds, size + own_size
    if run:
        yield run


def _kind(name: str, values: Any) -> tuple[Any, ...]:
    """Return a column's name and type; text and booleans are objects where some are missing."""
    from modelward.kinds import kind_of

    return (name, values.dtype, kind_of(values)) if values.dtype == object else (name, values.dtype)

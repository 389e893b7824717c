"""The same predictions, made by a dask cluster, for test data that one machine would not hold.

Each task reads a row group and runs one version over it, in a process with limits as on the server. What comes back are
predictions alone: the server keeps those and the labels, and judges them as it judges its own.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import ModelKind
from modelward.data import Columns
from modelward.errors import ModelFailed, StoreUnavailable
from modelward.kinds import without_times
from modelward.lifecycle import ModelVersion
from modelward_server.runtime.dask_cluster import connected
from modelward_server.sandbox.sandbox import Limits, Run, run_model
from modelward_server.storage.parquet import Piece

Read = Callable[[Any], Columns]
"""Turns an Arrow batch into columns."""


async def run_on_cluster(
    scheduler: str,
    pieces: Sequence[Piece],
    read: Read,
    others: Sequence[str],
    version: ModelVersion,
    model: Path,
    limits: Limits,
    names: Sequence[str] = (),
) -> Run:
    """Run a version over every row of a Parquet dataset.

    Args:
        scheduler: its address, as `tcp://10.0.0.5:8786`.
        others: the columns that are no features.
        names: the columns of the version's reference, in their order.

    Raises:
        ModelFailed: it failed on some piece.
        InvalidField: the data lack a column that it needs.
        StoreUnavailable: the cluster does not answer.
    """
    content = await asyncio.to_thread(model.read_bytes)
    return await asyncio.to_thread(_run, scheduler, pieces, read, others, version, content, limits, names)


def _run(
    scheduler: str,
    pieces: Sequence[Piece],
    read: Read,
    others: Sequence[str],
    version: ModelVersion,
    model: bytes,
    limits: Limits,
    names: Sequence[str],
) -> Run:
    with connected(scheduler) as client:
        sent = client.scatter(model, broadcast=True)
        kept = [piece for piece in pieces if piece.rows]
        terms = {"others": others, "version": version, "limits": limits, "names": names}
        parts = client.map(_run_piece, kept, read=read, model=sent, **terms)
        return _joined(_gathered(client, parts, version), version)


def _gathered(client: Any, parts: Sequence[Any], version: ModelVersion) -> list[Run]:
    """Wait for the runs.

    Raises:
        StoreUnavailable: the cluster lost its workers, its scheduler or the work.
    """
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    try:
        runs: list[Run] = client.gather(parts)
    except (OSError, KilledWorker, FutureCancelledError) as error:
        raise StoreUnavailable(f"the dask cluster gave up on {version}: {error}", store="dask") from error
    return runs


def _run_piece(
    piece: Piece,
    read: Read,
    others: Sequence[str],
    version: ModelVersion,
    model: bytes,
    limits: Limits,
    names: Sequence[str],
) -> Run:
    """Run the version over a piece; done by a worker."""
    batches = [read(batch) for batch in piece.batches()]
    joined = {name: np.concatenate([one[name] for one in batches]) for name in batches[0] if name not in others}
    features = without_times(joined)
    with TemporaryDirectory(prefix="modelward-") as folder:
        path = Path(folder, "model")
        path.write_bytes(model)
        return asyncio.run(run_model(version, path, features, limits, names))


def _joined(runs: Sequence[Run], version: ModelVersion) -> Run:
    """Put the runs of pieces together; the first one's latency stands for all."""
    first = runs[0]
    if all(run.probabilities is None for run in runs):
        runs = _of_all_classes(runs)  # What a model that does not tell its classes predicts differs by the piece.
    if any((run.kind, run.classes) != (first.kind, runs[0].classes) for run in runs):
        raise ModelFailed(f"{version} named its classes otherwise on another part of the data")
    probabilities = [run.probabilities for run in runs if run.probabilities is not None]
    if len(probabilities) not in {0, len(runs)}:
        raise ModelFailed(f"{version} gave probabilities for a part of the data alone")
    return Run(
        first.kind,
        runs[0].classes,
        np.concatenate([run.predicted for run in runs]),
        np.concatenate(probabilities) if probabilities else None,
        first.latency,
        next((run.no_probabilities for run in runs if run.no_probabilities), ""),
    )


def _of_all_classes(runs: Sequence[Run]) -> list[Run]:
    """Return the runs with the classes of them all."""
    classes = tuple(sorted({value for run in runs for value in run.classes}))
    places = {value: place for place, value in enumerate(classes)}
    return [replace(run, classes=classes, predicted=_moved(run, places)) for run in runs]


def _moved(run: Run, places: Mapping[Any, int]) -> NDArray[Any]:
    if run.kind is ModelKind.REGRESSION:
        return run.predicted
    moved = np.array([places[value] for value in run.classes], np.int64)
    return np.asarray(moved[run.predicted])

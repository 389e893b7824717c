"""Run models on a dask cluster, for test data that do not fit on one machine.

Each task reads a row group and runs one version over it, in a process with the same limits as on the server. Only the
predictions are returned: the server holds them and the labels, and evaluates them as it evaluates its own.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import ModelKind
from modelward.data import Columns
from modelward.errors import ModelFailed, StoreUnavailable
from modelward.kinds import without_times
from modelward.lifecycle import ModelVersion
from modelward_server.runtime.dask_cluster import connected
from modelward_server.runtime.temporary_folders import temporary_folder
from modelward_server.sandbox.answers import PrefixCheck
from modelward_server.sandbox.sandbox import Limits, Run, run_model
from modelward_server.storage.parquet import Piece

Read = Callable[[Any], Columns]
"""Converts an Arrow batch into columns."""


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
        scheduler: the address of the scheduler, such as `tcp://10.0.0.5:8786`.
        pieces: the row groups of the dataset.
        read: converts an Arrow batch into columns.
        others: the columns that are not features.
        version: the version to run.
        model: the path of its model file.
        limits: the limits of the model's processes.
        names: the columns of the version's reference, in their order.

    Raises:
        ModelFailed: the model failed on a row group.
        InvalidField: the data lack a column that it needs.
        StoreUnavailable: the cluster does not respond.
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
        StoreUnavailable: the cluster lost its workers, its scheduler or the tasks.
    """
    from distributed import KilledWorker
    from distributed.client import FutureCancelledError

    try:
        runs: list[Run] = client.gather(parts)
    except (OSError, KilledWorker, FutureCancelledError) as error:
        raise StoreUnavailable(f"the dask cluster failed to run {version}: {error}", store="dask") from error
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
    """Run the version over a row group; executed by a dask worker."""
    batches = [read(batch) for batch in piece.batches()]
    joined = {name: np.concatenate([one[name] for one in batches]) for name in batches[0] if name not in others}
    features = without_times(joined)
    with temporary_folder() as folder:
        path = Path(folder, "model")
        path.write_bytes(model)
        return asyncio.run(run_model(version, path, features, limits, names))


def _joined(runs: Sequence[Run], version: ModelVersion) -> Run:
    """Concatenate the runs of all row groups; the latency is that of the first one."""
    first = runs[0]
    if all(run.probabilities is None for run in runs):
        runs = _with_all_classes(runs)  # A model without a list of classes has those it predicted.
    if any((run.kind, run.classes) != (first.kind, runs[0].classes) for run in runs):
        raise ModelFailed(f"{version} reported different classes on another part of the data")
    probabilities = [run.probabilities for run in runs if run.probabilities is not None]
    if len(probabilities) not in {0, len(runs)}:
        raise ModelFailed(f"{version} returned probabilities only for a part of the data")
    return Run(
        first.kind,
        runs[0].classes,
        np.concatenate([run.predicted for run in runs]),
        np.concatenate(probabilities) if probabilities else None,
        first.latency,
        next((run.no_probabilities for run in runs if run.no_probabilities), ""),
        _joined_prefixes(runs),
    )


def _joined_prefixes(runs: Sequence[Run]) -> PrefixCheck | None:
    """Return the checks of all row groups as one; None if one of them was not made."""
    checks = [run.prefix for run in runs if run.prefix is not None]
    if len(checks) < len(runs):
        return None
    rows, differing = sum(one.rows for one in checks), sum(one.differing for one in checks)
    return PrefixCheck(rows, differing, all(one.repeatable for one in checks))


def _with_all_classes(runs: Sequence[Run]) -> list[Run]:
    """Return the runs with the union of their classes."""
    classes = tuple(sorted({value for run in runs for value in run.classes}))
    positions = {value: place for place, value in enumerate(classes)}
    return [replace(run, classes=classes, predicted=_renumbered(run, positions)) for run in runs]


def _renumbered(run: Run, positions: Mapping[Any, int]) -> NDArray[Any]:
    if run.kind is ModelKind.REGRESSION:
        return run.predicted
    renumbered = np.array([positions[value] for value in run.classes], np.int64)
    return np.asarray(renumbered[run.predicted])

"""Runs one model over data in a worker process of its own, with limits of time and memory.

Nothing of a model is loaded in the server: what comes back are arrays of numbers, which are checked like any input.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import Latency, ModelKind
from modelward.data import Columns, to_arrow
from modelward.errors import FieldViolation, InvalidField, ModelFailed
from modelward.lifecycle import ModelVersion
from modelward_server.comparison.process import how_it_died, start_process
from modelward_server.observability.spans import span

GREATEST = 1e150
"""Numbers beyond it have no finite square, so no error could be told."""


@dataclass(frozen=True)
class Limits:
    """What a model may take."""

    seconds: float
    """From the start of its process to its end."""
    memory_mb: int
    """Memory in MiB for itself, beside the interpreter and the libraries."""
    allow_pickle: bool = False
    """Whether it may be a pickle, which runs its author's code as the server's user."""


@dataclass(frozen=True)
class Run:
    """What a model answered."""

    kind: ModelKind
    classes: tuple[Any, ...]
    predicted: NDArray[Any]
    """int64 positions in `classes`, or finite float64."""
    probabilities: NDArray[np.float64] | None
    """Of shape (rows, classes), rows adding up to 1; None where the model gives none."""
    latency: Latency | None
    """None of what was predicted elsewhere."""


class _RefusedError(Exception):
    """The model broke a rule; the text says which, as the end of a sentence that begins with its name."""


async def run_model(version: ModelVersion, model: Path, columns: Columns, limits: Limits) -> Run:
    """Run a version over every row of `columns`. When it is cancelled, the process is ended.

    Raises:
        ModelFailed: it did not load, raised, died, took more than its limits, or answered nonsense.
        InvalidField: the data lack a column that it needs.
    """
    rows = len(next(iter(columns.values())))
    with TemporaryDirectory(prefix="modelward-") as name:
        folder = Path(name)
        await asyncio.to_thread(write_job, folder, version, model, columns, limits, limits.seconds)
        try:
            with span("run model", model=version.model, version=version.version):
                await _work(version.format, folder, limits)
            return await asyncio.to_thread(_read_answer, folder, version, rows)
        except _RefusedError as refused:
            raise ModelFailed(f"{version} {refused}", model=version.model, version=version.version) from None


def write_job(
    folder: Path, version: ModelVersion, model: Path, columns: Columns, limits: Limits, seconds: float
) -> None:
    """Write what a process needs into its folder; `seconds` is how long it may use every core."""
    with (folder / "features.arrow").open("wb") as file:
        file.writelines(to_arrow(columns))
    job = {
        "format": version.format,
        "model": str(model.resolve()),
        "memory_mb": limits.memory_mb,
        "cpu_seconds": ceil(seconds * (os.cpu_count() or 1)) + 1,
    }
    (folder / "job.json").write_text(json.dumps(job))


async def _work(format_: str, folder: Path, limits: Limits) -> None:
    """Run the worker to its end, or end it."""
    async with start_process(format_, "work", folder) as worker:
        try:
            async with asyncio.timeout(limits.seconds):
                code = await worker.ended()
        except TimeoutError:
            raise _RefusedError(f"was stopped after {limits.seconds:g} s, the time limit") from None
    if not (folder / "answer.json").exists():
        raise _RefusedError(how_it_died(code))


def _read_answer(folder: Path, version: ModelVersion, rows: int) -> Run:
    answer: dict[str, Any] = json.loads((folder / "answer.json").read_text())
    if "wrong_data" in answer:
        raise InvalidField(FieldViolation("data", f"{answer['wrong_data']} ({version})"))
    if "failure" in answer:
        raise _RefusedError(answer["failure"])
    with np.load(folder / "outputs.npz", allow_pickle=False) as outputs:
        arrays = dict(outputs.items())
    kind, classes = ModelKind(answer["kind"]), tuple(answer["classes"])
    return Run(
        kind,
        classes,
        _checked_predictions(arrays, kind, rows, len(classes)),
        _checked_probabilities(arrays, rows, len(classes)),
        _latency(answer["row_times"], answer["batch_times"], rows),
    )


def _checked_predictions(arrays: Mapping[str, NDArray[Any]], kind: ModelKind, rows: int, classes: int) -> NDArray[Any]:
    predicted = arrays["predicted"]
    if predicted.shape != (rows,):
        raise _RefusedError(f"gave {predicted.shape} predictions for {rows:,} rows")
    if kind is ModelKind.CLASSIFICATION:
        if predicted.dtype != np.int64 or not ((predicted >= 0) & (predicted < classes)).all():
            raise _RefusedError("predicted classes that it does not know itself")
        return predicted
    bad = np.count_nonzero(~(np.abs(predicted) < GREATEST))
    if bad:
        raise _RefusedError(f"predicted NaN, infinity or more than {GREATEST:g} in {bad:,} of {rows:,} rows")
    return predicted


def _checked_probabilities(arrays: Mapping[str, NDArray[Any]], rows: int, classes: int) -> NDArray[np.float64] | None:
    if "probabilities" not in arrays:
        return None
    found = arrays["probabilities"]
    if found.shape != (rows, classes):
        raise _RefusedError(f"gave probabilities of shape {found.shape} for {rows:,} rows and {classes} classes")
    if not (found >= 0).all() or not (np.abs(found.sum(axis=1) - 1) < 1e-3).all():
        raise _RefusedError("gave probabilities that are below 0, NaN, or do not add up to 1")
    return np.asarray(found, np.float64)


def _latency(row_times: list[float], batch_times: list[float], rows: int) -> Latency:
    (row_p50, row_p99), (batch_p50, batch_p99) = _percentiles(row_times), _percentiles(batch_times)
    return Latency(row_p50, row_p99, batch_p50, batch_p99, rows, len(row_times), len(batch_times))


def _percentiles(times: list[float]) -> tuple[timedelta, timedelta]:
    """Return p50 and p99; of fewer than 100 calls the p99 is the longest."""
    p50, p99 = np.quantile(times, [0.5, 0.99], method="higher")
    return timedelta(seconds=float(p50)), timedelta(seconds=float(p99))

"""Runs one model over data in a sandboxed process of its own, with limits of time and memory.

Nothing of a model is loaded in the server: the process returns arrays of numbers, which are checked like any input.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import Latency, ModelKind
from modelward.data import Columns, to_arrow
from modelward.errors import FieldViolation, InvalidField, ModelFailed
from modelward.lifecycle import ModelVersion
from modelward_server.runtime.tracing import span
from modelward_server.sandbox.answers import (
    ModelProcessError,
    PrefixCheck,
    check_shape,
    classes,
    failure_text,
    prefix_check,
    read_array,
    seconds,
)
from modelward_server.sandbox.level import level
from modelward_server.sandbox.sandbox_process import ModelProcess, start_process
from modelward_server.sandbox.scratch import job_folder, next_user, share

KINDS = tuple(ModelKind)
MAX_PREDICTION = 1e150
"""Numbers beyond it have no finite square, so no error could be computed."""


@dataclass(frozen=True)
class Limits:
    """Resources that a model may use."""

    seconds: float
    """Time from the start of its process to its end."""
    memory_mb: int
    """Memory in MiB for the model itself, in addition to the interpreter and the libraries."""
    allow_pickle: bool = False
    """Whether it may be a pickle, which runs its author's code."""
    trusted_types: tuple[str, ...] = ()
    """Names of types that its file may contain in addition to those that Modelward trusts."""


@dataclass(frozen=True)
class Run:
    """The result of running a model."""

    kind: ModelKind
    classes: tuple[Any, ...]
    predicted: NDArray[Any]
    """int64 indices into `classes`, -1 where the model does not answer; or float64: finite, or NaN for the same."""
    probabilities: NDArray[np.float64] | None
    """Shape (rows, classes), with rows that add up to 1, or are NaN where it does not answer; None if it gives none."""
    latency: Latency | None
    """None for predictions that were made elsewhere, or for a request to score."""
    no_probabilities: str = ""
    """Why a model's probabilities are not used; empty when they are, or when it gives none."""
    prefix: PrefixCheck | None = None
    """Whether its predictions of the first rows depend on those after them; None if that was not examined."""
    libraries: tuple[str, ...] = ()
    """The releases of what predicted, for a request to score."""

    @property
    def answered(self) -> NDArray[np.int64]:
        """Return the numbers of the rows that have a prediction, ascending."""
        missing = np.isnan(self.predicted)
        if self.kind is ModelKind.CLASSIFICATION:
            missing |= self.predicted < 0
        if self.probabilities is not None:
            missing |= np.isnan(self.probabilities).any(axis=1)
        return np.flatnonzero(~missing)

    @property
    def class_indices(self) -> NDArray[np.int64]:
        """Return the predicted classes, -1 where the model does not answer."""
        indices = np.full(len(self.predicted), -1, np.int64)
        indices[self.answered] = self.predicted[self.answered]
        return indices

    def in_order(self, order: NDArray[np.int64]) -> "Run":
        """Return the result with other rows, or in another order: the position that each row has here."""
        probabilities = None if self.probabilities is None else self.probabilities[order]
        return replace(self, predicted=self.predicted[order], probabilities=probabilities)


async def run_model(
    version: ModelVersion, model: Path, columns: Columns, limits: Limits, names: Sequence[str] = ()
) -> Run:
    """Run a version over every row of `columns`. When the call is cancelled, the process is ended.

    Args:
        names: the columns of the version's reference, in order.

    Raises:
        ModelFailed: it did not load, raised, crashed, exceeded its limits, or gave an invalid answer.
        InvalidField: the data lack a column that it needs.
    """
    rows = len(next(iter(columns.values())))
    with job_folder() as folder:
        await asyncio.to_thread(write_job, folder, version, model, columns, limits, limits.seconds, names)
        try:
            with span("run model", model=version.model, version=version.version):
                return await _work(version, folder, rows, limits)
        except ModelProcessError as failed:
            raise ModelFailed(f"{version} {failed}", model=version.model, version=version.version) from None


def write_job(
    folder: Path,
    version: ModelVersion,
    model: Path,
    columns: Columns | bytes,
    limits: Limits,
    run_seconds: float,
    names: Sequence[str] = (),
) -> None:
    """Write the inputs of a process into its folder; `run_seconds` is how long it may use every core.

    Args:
        columns: the features, or an Arrow stream of them; empty for none.

    The model is copied, since its process must not have access to the folder where it is stored.
    """
    if columns:
        with (folder / "features.arrow").open("wb") as file:
            file.writelines([columns] if isinstance(columns, bytes) else to_arrow(columns))
    name = f"model.{version.format}"
    shutil.copyfile(model, folder / name)
    user = next_user() if level().layers.own_user else None
    job = {
        "format": version.format,
        "model": name,
        "memory_mb": limits.memory_mb,
        "cpu_seconds": ceil(run_seconds * (os.cpu_count() or 1)) + 1,
        "user": user,
        "names": list(names),
        "trusted": list(limits.trusted_types),
        "signature": version.signature.to_dict() if version.signature else None,
    }
    (folder / "job.json").write_text(json.dumps(job))
    if user is not None:
        share(folder, user)


async def _work(version: ModelVersion, folder: Path, rows: int, limits: Limits) -> Run:
    """Run the model's process and read its answer, or end it."""
    async with start_process(version.format, "work", folder) as process:
        try:
            async with asyncio.timeout(limits.seconds):
                return await _read_answer(process, version, rows)
        except TimeoutError:
            raise ModelProcessError(f"was stopped after {limits.seconds:g} s, the time limit") from None


async def _read_answer(process: ModelProcess, version: ModelVersion, rows: int) -> Run:
    answer = await process.answer()
    run = await _read_predictions(process, answer, version, rows)
    return replace(run, latency=_latency(answer, rows), prefix=prefix_check(answer.get("prefix"), rows))


@dataclass(frozen=True)
class Described:
    """What an answer says of its arrays, which was checked."""

    kind: ModelKind
    classes: tuple[Any, ...]
    has_probabilities: bool
    no_probabilities: str

    @property
    def dtype(self) -> type[np.generic]:
        """The type of the predictions."""
        return np.int64 if self.kind is ModelKind.CLASSIFICATION else np.float64

    def run(self, predicted: NDArray[Any], probabilities: NDArray[np.float64] | None) -> Run:
        """Return the predictions, of shape (rows,), and the probabilities, of shape (rows, classes), once checked.

        Raises:
            ModelProcessError: they are invalid.
        """
        checked = _checked_predictions(predicted, self.kind, len(self.classes))
        sure = None if probabilities is None else _checked_probabilities(probabilities)
        return Run(self.kind, self.classes, checked, sure, None, self.no_probabilities)


def described(answer: Mapping[str, Any], version: ModelVersion, rows: int, field: str) -> Described:
    """Check what an answer says of its arrays.

    Args:
        answer: what a process answered before the arrays.
        version: the version that runs in it.
        rows: the number of rows that it was asked about.
        field: the field of the request that holds the rows, for errors.

    Raises:
        InvalidField: the rows lack a column that the model needs.
        ModelProcessError: the model raised, or the answer is invalid.
    """
    if "wrong_data" in answer:
        raise InvalidField(FieldViolation(field, f"{failure_text(answer['wrong_data'])} ({version})"))
    kind = next((kind for kind in KINDS if kind == answer.get("kind")), None)
    if kind is None:
        raise ModelProcessError(failure_text(answer.get("failure")))
    known, why = classes(answer.get("classes")), answer.get("no_probabilities")
    shapes = answer["shapes"] if isinstance(answer.get("shapes"), dict) else {}
    check_shape(shapes, "predicted", (rows,))
    if "probabilities" in shapes:
        check_shape(shapes, "probabilities", (rows, len(known)))
    return Described(kind, known, "probabilities" in shapes, failure_text(why) if why else "")


async def _read_predictions(process: ModelProcess, answer: Mapping[str, Any], version: ModelVersion, rows: int) -> Run:
    """Read the arrays of an answer, and check them."""
    form = described(answer, version, rows, "data")
    predicted = await read_array(process.reader, form.dtype, (rows,))
    shape = rows, len(form.classes)
    probabilities = await read_array(process.reader, np.float64, shape) if form.has_probabilities else None
    return form.run(predicted, probabilities)


def _checked_predictions(predicted: NDArray[Any], kind: ModelKind, known: int) -> NDArray[Any]:
    if kind is ModelKind.CLASSIFICATION:
        if not ((predicted >= 0) & (predicted < known)).all():
            raise ModelProcessError("predicted classes that are not among its own")
        return predicted
    bad = np.count_nonzero(np.abs(predicted) >= MAX_PREDICTION)
    if bad:
        raise ModelProcessError(
            f"predicted infinity or more than {MAX_PREDICTION:g} in {bad:,} of {len(predicted):,} rows"
        )
    return predicted


def _checked_probabilities(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    given = probabilities[~np.isnan(probabilities).any(axis=1)]
    with np.errstate(all="ignore"):
        adds_up = (np.abs(given.sum(axis=1) - 1) < 1e-3).all()
    if not (given >= 0).all() or not adds_up:
        raise ModelProcessError("gave probabilities that are below 0, or do not add up to 1")
    return probabilities


def _latency(answer: Mapping[str, Any], rows: int) -> Latency:
    row_times = seconds(answer.get("row_times"), "times of rows")
    batch_times = seconds(answer.get("batch_times"), "times of batches")
    (row_p50, row_p99), (batch_p50, batch_p99) = _percentiles(row_times), _percentiles(batch_times)
    return Latency(row_p50, row_p99, batch_p50, batch_p99, rows, len(row_times), len(batch_times))


def _percentiles(times: list[float]) -> tuple[timedelta, timedelta]:
    """Return p50 and p99; for fewer than 100 calls the p99 is the maximum."""
    p50, p99 = np.quantile(times, [0.5, 0.99], method="higher")
    return timedelta(seconds=float(p50)), timedelta(seconds=float(p99))

"""The process in which one model runs; forked by the fork server, and confined before this module runs.

It reads `features.arrow` and the model from the folder, predicts, measures latencies, and answers with a line of JSON
and then, when the model predicted, with the bytes of the arrays whose shapes are in that line. It is independent of the
server; its supervisor enforces the time limit.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modelward.comparison import ModelKind
from modelward.errors import InvalidField
from modelward.formats.outputs import Outputs
from modelward.formats.predictor import Predictor
from modelward.signature import Signature
from modelward_server.sandbox.model_loading import import_runtime, load

ROW_CALLS = 200
"""Number of timed calls with one row, if they are fast enough: the minimum with two above the p99."""
BATCH_CALLS = 20
MAX_PREFIX_ROWS = 10_000
"""Maximum number of the first rows that are predicted once more without those after them."""
PREFIX_TOLERANCE = 1e-4
"""Difference of predictions, relative to the largest, that arithmetic in batches of another size explains."""
SECONDS_OF_TIMING = 0.5
"""Time after which no further call is timed, for rows and for batches each."""


class WrongDataError(Exception):
    """The data do not match what the model takes."""


def main(job: Mapping[str, Any], folder: Path, answers: BinaryIO) -> None:
    """Run the model in the folder."""
    arrays: Mapping[str, NDArray[Any]] = {}
    try:
        result, arrays = _run(job, folder)
        answer = json.dumps(result)
    except BaseException as error:  # A model may raise anything, also SystemExit.
        answer = json.dumps(failure_of(error, job["memory_mb"]))
    answers.write(answer.encode() + b"\n")
    for array in arrays.values():
        answers.write(np.ascontiguousarray(array).data)


def failure_of(error: BaseException, memory_mb: int) -> dict[str, str]:
    """Return the answer for an exception that a model raised."""
    if isinstance(error, WrongDataError):
        return {"wrong_data": str(error)}
    if isinstance(error, MemoryError):
        return {"failure": f"needed more than {memory_mb:,} MiB, the memory limit"}
    return {"failure": f"raised {type(error).__name__}: {str(error)[:500]}"}


def load_model(job: Mapping[str, Any], folder: Path) -> Predictor:
    """Load the job's model."""
    signature = Signature.from_dict(job["signature"]) if job["signature"] else Signature()
    known = import_runtime(job["format"])
    return load(known, folder / job["model"], signature.completed(Signature.of(job["names"])), job["trusted"])


def load_table(model: Predictor, folder: Path) -> Any:
    """Return the job's features in the form that the model takes."""
    with pa.memory_map(str(folder / "features.arrow")) as features, pa.ipc.open_stream(features) as reader:
        try:
            return model.prepare(reader.read_all())
        except InvalidField as error:
            raise WrongDataError("; ".join(violation.description for violation in error.violations)) from None


def _run(job: Mapping[str, Any], folder: Path) -> tuple[dict[str, object], Mapping[str, NDArray[Any]]]:
    model = load_model(job, folder)
    table = load_table(model, folder)
    outputs = model.outputs(table)
    prefix = _prefix(model, table, outputs)
    model.call(table[:1])  # One call to warm up; whole batches already had one.
    row_times = _times(model, lambda call: table[call % len(table) :][:1], ROW_CALLS)
    batch_times = _times(model, lambda _: table, BATCH_CALLS)
    arrays = {"predicted": outputs.predicted}
    if outputs.probabilities is not None:
        arrays["probabilities"] = outputs.probabilities
    kind = ModelKind.REGRESSION if outputs.classes is None else ModelKind.CLASSIFICATION
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    times = {"row_times": row_times, "batch_times": batch_times}
    known: dict[str, object] = {
        "kind": kind,
        "classes": outputs.classes or [],
        "no_probabilities": outputs.no_probabilities,
    }
    known["prefix"] = prefix
    return {**known, "shapes": shapes, **times}, arrays


def _prefix(model: Predictor, table: Any, outputs: Outputs) -> dict[str, object] | None:
    """Compare the predictions of the first rows with and without the rows after them; None of a single row."""
    rows = min(len(table) // 2, MAX_PREFIX_ROWS)
    if not rows:
        return None
    alone = model.outputs(table[:rows])
    differing = int(_differs(_figures(outputs)[:rows], _figures(alone)).sum())
    again = differing and _differs(_figures(model.outputs(table[:rows])), _figures(alone)).any()
    return {"rows": rows, "differing": differing, "repeatable": not again}


def _figures(outputs: Outputs) -> NDArray[np.float64]:
    """Return what a model predicts of each row as numbers, shape (rows, figures)."""
    figures = outputs.predicted if outputs.probabilities is None else outputs.probabilities
    return figures.astype(np.float64).reshape(len(outputs.predicted), -1)


def _differs(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return in which rows figures differ by more than arithmetic explains, shape (rows,); NaN equals NaN."""
    size = np.abs(others).max(where=np.isfinite(others), initial=0.0)
    with np.errstate(invalid="ignore"):
        same = (np.abs(some - others) <= PREFIX_TOLERANCE * size) | (some == others)
    return np.asarray(~(same | (np.isnan(some) & np.isnan(others))).all(axis=1))


def _times(model: Predictor, rows_of: Callable[[int], Any], max_calls: int) -> list[float]:
    """Time calls, in seconds."""
    times: list[float] = []
    while len(times) < max_calls and sum(times) < SECONDS_OF_TIMING:
        rows = rows_of(len(times))
        begin = perf_counter()
        model.call(rows)
        times.append(perf_counter() - begin)
    return times

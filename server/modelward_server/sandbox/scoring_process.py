"""The process in which one model is kept loaded; forked by the fork server, and confined before this module runs.

It loads the model as `model_process` does, predicts the rows of its reference to warm up, and reports that it is ready.
That is a line of JSON. Then it answers each request as `score_answer` describes it. A request is `HEADER`, the names of
its columns as JSON, and its rows: a matrix of float64, row after row, or without names an Arrow stream. It ends when
its standard input closes.
"""

import gc
import json
import resource
import sys
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from platform import python_version
from time import perf_counter
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from modelward.comparison import ModelKind
from modelward.errors import InvalidField
from modelward.formats import formats
from modelward.formats.outputs import Outputs
from modelward.formats.predictor import Predictor
from modelward_server.sandbox.model_process import WrongDataError, failure_of, load_model, load_table
from modelward_server.sandbox.score_answer import HEADER as ANSWER
from modelward_server.sandbox.score_request import HEADER

NAMELESS = "X does not have valid feature names"
"""The warning of scikit-learn for a matrix, whose columns are chosen by name before it is made."""

LIBRARIES = {
    "catboost": "catboost",
    "lightgbm": "lightgbm",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "pandas": "pandas",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "skops": "skops",
    "xgboost": "xgboost",
}
"""The modules that predictions may depend on, with the names of their packages."""


def main(job: Mapping[str, Any], folder: Path, answers: BinaryIO) -> None:
    """Keep the model in the folder loaded, and predict with it."""
    before = _peak_bytes()
    warnings.filterwarnings("ignore", NAMELESS)
    try:
        model = load_model(job, folder)
        _warm_up(model, folder)
    except BaseException as error:  # A model may raise anything, also SystemExit.
        _write(answers, failure_of(error, job["memory_mb"]))
        return
    gc.freeze()
    known = {"ready": True, "libraries": _libraries(job["format"])}
    _write(answers, {**known, "memory_bytes": max(_peak_bytes() - before, 1)})
    for names, content in _requests(sys.stdin.buffer):
        _answer(model, names, content, answers, job["memory_mb"], before)


def _warm_up(model: Predictor, folder: Path) -> None:
    """Predict the rows of the reference: libraries allocate and compile at the first call."""
    if (folder / "features.arrow").exists():
        table = load_table(model, folder)
        model.outputs(table)
        model.outputs(table[:1])


def _libraries(format_: str) -> list[str]:
    """Return the releases of what is loaded: Python, and the libraries of all formats and of this one."""
    own = {module.partition(".")[0] for module in formats()[format_].modules}
    names = {**{module: module for module in own}, **LIBRARIES}
    loaded = {name: getattr(sys.modules.get(module), "__version__", "") for module, name in names.items()}
    return [f"Python {python_version()}", *(f"{name} {loaded[name]}" for name in sorted(loaded) if loaded[name])]


def _requests(source: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while header := source.read(HEADER.size):
        of_names, of_rows = HEADER.unpack(header)
        yield source.read(of_names), source.read(of_rows)


def _answer(model: Predictor, names: bytes, content: bytes, answers: BinaryIO, memory_mb: int, before: int) -> None:
    try:
        rows = _rows(model, names, content)
        begin = perf_counter()
        outputs = model.outputs(rows)
        seconds = max(perf_counter() - begin, 1e-9)
        text, arrays = _text(outputs), b"".join(_arrays(outputs))
    except BaseException as error:
        seconds, text, arrays = 0.0, json.dumps(failure_of(error, memory_mb)).encode(), b""
    answers.write(ANSWER.pack(len(text), len(arrays), max(_peak_bytes() - before, 1), seconds))
    answers.write(text)
    answers.write(arrays)
    answers.flush()


def _rows(model: Predictor, names: bytes, content: bytes) -> Any:
    try:
        if names:
            columns = _names(names)
            return model.from_matrix(np.frombuffer(content, "<f8").reshape(-1, len(columns)), columns)
        with pa.ipc.open_stream(content) as reader:
            return model.prepare(reader.read_all())
    except InvalidField as error:
        raise WrongDataError("; ".join(violation.description for violation in error.violations)) from None


@lru_cache(1)
def _names(encoded: bytes) -> list[str]:
    """Return the names of columns, which are mostly those of the request before."""
    names: list[str] = json.loads(encoded)
    return names


def _text(outputs: Outputs) -> bytes:
    """Return what the arrays are."""
    kind = ModelKind.REGRESSION if outputs.classes is None else ModelKind.CLASSIFICATION
    given = {"predicted": outputs.predicted, "probabilities": outputs.probabilities}
    shapes = {name: array.shape for name, array in given.items() if array is not None}
    known = {"kind": kind, "classes": outputs.classes or [], "no_probabilities": outputs.no_probabilities}
    return json.dumps({**known, "shapes": shapes}).encode()


def _arrays(outputs: Outputs) -> Iterator[bytes]:
    yield outputs.predicted.tobytes()
    if outputs.probabilities is not None:
        yield outputs.probabilities.tobytes()


def _write(answers: BinaryIO, answer: Mapping[str, object]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

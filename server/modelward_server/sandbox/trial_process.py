"""The process in which a version is tried; forked by the fork server, and confined before this module runs.

It loads the model and predicts the rows in `features.arrow`, or, without that file, rows made from its signature. It
answers with one line of JSON.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from modelward.formats.predictor import Predictor
from modelward.signature import ColumnKind, Signature
from modelward_server.sandbox.model_process import failure_of, load_model, load_table

MADE_ROWS = 5


@dataclass(frozen=True)
class _Made:
    """Whether the rows were made so that a model must be able to predict them."""

    certain: bool


def main(job: Mapping[str, Any], folder: Path, answers: BinaryIO) -> None:
    """Try the model in the folder."""
    made = _Made(certain=True)
    try:
        model = load_model(job, folder)
        rows = (folder / "features.arrow").exists()
        if not rows:
            made = _Made(_is_certain(model.signature))
        predicted = model.outputs(load_table(model, folder) if rows else model.prepare(made_rows(model)))
        signature = model.signature.completed(Signature.of(classes=list(predicted.classes or ())))
        answer: dict[str, Any] = {"signature": signature.to_dict(), "rows": len(predicted.predicted), "made": not rows}
    except BaseException as error:  # A model may raise anything, also SystemExit.
        answer = failure_of(error, job["memory_mb"]) | {"certain": made.certain or _is_unfitted(error)}
    answers.write(json.dumps(answer).encode() + b"\n")


def made_rows(model: Predictor) -> Any:
    """Return rows with numbers near 0, the texts "a" and "b", and both truth values.

    Args:
        model: of whose signature the columns are; an unknown number of columns is taken for one.
    """
    random = np.random.default_rng(0)
    values = {
        ColumnKind.CATEGORY: np.array(["a", "b"] * MADE_ROWS, object)[:MADE_ROWS],
        ColumnKind.BOOLEAN: np.arange(MADE_ROWS) % 2 == 0,
        ColumnKind.TIME: np.arange(MADE_ROWS).astype("datetime64[D]"),
    }
    inputs = model.signature.inputs
    if not model.signature.names:
        return random.normal(size=(MADE_ROWS, max(1, len(inputs))))
    return {column.name: values.get(column.kind, random.normal(size=MADE_ROWS)) for column in inputs}


def _is_certain(signature: Signature) -> bool:
    """Return whether every model with this signature can predict made rows: if it takes numbers only, and says so."""
    kinds = {column.kind for column in signature.inputs}
    return kinds == {ColumnKind.NUMBER}


def _is_unfitted(error: BaseException) -> bool:
    return type(error).__name__ == "NotFittedError"

"""Models that tests run, good ones and ones that go wild, each a true file of its format."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.tree import DecisionTreeClassifier

from modelward.lifecycle import ModelFormat, ModelVersion, Stage

T0 = datetime(2024, 1, 1, tzinfo=UTC)
SKOPS = ModelVersion(
    *("spx", 3, Stage.TRAINING, "", {}, {}, {}, (), ModelFormat.SKOPS, "", "", "ada"), T0, T0, T0, "", "", (), "r1"
)
ONNX = replace(SKOPS, format=ModelFormat.ONNX)


def features(rows: int = 200, width: int = 2, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    random = np.random.default_rng(seed)
    return {f"x{number}": random.normal(size=rows) for number in range(width)}


def labels(columns: dict[str, NDArray[np.float64]]) -> NDArray[np.int64]:
    return (columns["x0"] > 0).astype(np.int64)


def saved(model: Any, folder: Path) -> Path:
    skops.io.dump(model, folder / "model.skops")
    return folder / "model.skops"


def endless(width: int = 2) -> DecisionTreeClassifier:
    """Return a tree whose root is its own child: predict never ends, and never lets go of its core."""
    return _misled(0, width)


def crashing(width: int = 2) -> DecisionTreeClassifier:
    """Return a tree whose root's children lie far outside of its memory: predict dies of SIGSEGV."""
    return _misled(2**40, width)


def greedy() -> Any:
    """Return a model that wants all products of six among 40 features: some 9 million numbers a row."""
    columns = features(20, 40)
    matrix = np.column_stack(list(columns.values()))
    model = make_pipeline(PolynomialFeatures(2), LogisticRegression()).fit(matrix, labels(columns))
    model[0].set_params(degree=6)
    model[0].fit(matrix)
    return model


def _misled(child: int, width: int) -> DecisionTreeClassifier:
    columns = features(width=width)
    model = DecisionTreeClassifier(max_depth=2).fit(np.column_stack(list(columns.values())), labels(columns))
    state = model.tree_.__getstate__()
    state["nodes"]["left_child"][0] = state["nodes"]["right_child"][0] = child
    model.tree_.__setstate__(state)
    return model

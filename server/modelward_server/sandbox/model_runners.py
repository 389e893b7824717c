"""Loading and calling a model of each format. Runs in the sandboxed process only."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modelward.formats import Format, formats
from modelward.formats.onnx_structure import locations, parse
from modelward_server.sandbox.model_tables import chosen, in_reference_order, labels, matrix, numbers, positions
from modelward_server.sandbox.onnx_graph import FEATURE_NAMES, OnnxGraph
from modelward_server.sandbox.onnx_outputs import choose_outputs
from modelward_server.sandbox.onnx_tables import OnnxInput, OnnxRows, check_inputs, rows_of


class Runner(Protocol):
    """A loaded model."""

    kind: str
    """`classification` or `regression`."""
    classes: list[Any]
    """The classes, in the order of the probabilities."""
    no_probabilities: str
    """Why a classifier's probabilities are not reported; empty when they are, or when it has none."""

    def table(self, data: pa.Table, names: Sequence[str] = ()) -> Any:
        """Return the features in the form that the model takes; slices of it are rows.

        Args:
            names: the columns of the version's reference, for a model that does not know its own by name.
        """

    def predict(self, rows: Any) -> Any:
        """Perform the call that is timed."""

    def outputs(self, rows: Any) -> Mapping[str, NDArray[Any]]:
        """Return `predicted`: numbers, or indices into `classes`; for classes also `probabilities`, if any."""


def import_runtime(format_: str) -> Format:
    """Import the runtime of a format, which is large, so that the limits count only the model's own memory."""
    known = formats()[format_]
    for module in known.modules:
        importlib.import_module(module)
    return known


def load(known: Format, path: Path) -> Runner:
    """Load a model of a format."""
    if known.name == "onnx":
        return OnnxModel(path)
    known.check(path)
    if untrusted := known.untrusted(path):
        raise TypeError(f"it holds types that this server does not trust: {', '.join(untrusted)}")
    return Estimator(known.load(path))


class Estimator:
    """A scikit-learn model, or another one with the same methods."""

    no_probabilities = ""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.kind = "classification" if _classifies(model) else "regression"
        self.classes = _classes(model) if self.kind == "classification" else []
        self.predict = model.predict

    def table(self, data: pa.Table, names: Sequence[str] = ()) -> Any:
        own = getattr(self._model, "feature_names_in_", None)
        if own is not None:
            return chosen(data, [str(name) for name in own]).to_pandas()
        return matrix(in_reference_order(data, names), getattr(self._model, "n_features_in_", None))

    def outputs(self, rows: Any) -> Mapping[str, NDArray[Any]]:
        predicted = np.asarray(self.predict(rows))
        if self.kind == "regression":
            return {"predicted": numbers(predicted, len(rows))}
        decoded = {"predicted": positions(labels(predicted, len(rows)), self.classes)}
        if hasattr(self._model, "predict_proba"):
            decoded["probabilities"] = np.asarray(self._model.predict_proba(rows), np.float64)
        return decoded


def _classifies(model: Any) -> bool:
    """Return what an estimator says of itself; a model that is no estimator classifies if it has classes."""
    if not hasattr(model, "__sklearn_tags__"):
        return hasattr(model, "classes_")
    from sklearn.base import is_classifier

    return bool(is_classifier(model))


def _classes(model: Any) -> list[Any]:
    """Return a classifier's classes, in the order of its probabilities."""
    classes = getattr(model, "classes_", None)
    if classes is None:
        raise ValueError("it is a classifier without classes_, so the classes that it predicts are unknown")
    if isinstance(classes, list) and np.ndim(classes[0]):
        raise ValueError(f"it predicts {len(classes)} labels for each row; expected one label per row")
    return list(np.asarray(classes).tolist())


class OnnxModel:
    """An ONNX model: one input of shape (rows, features), or one of shape (rows, 1) for each feature by its name."""

    def __init__(self, path: Path) -> None:
        import onnxruntime as runtime

        graph = self._read(path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._inputs = [OnnxInput.of(one) for one in self._session.get_inputs()]
        check_inputs(self._inputs)
        self._names = [str(name) for name in graph.named(FEATURE_NAMES) or ()]
        self._outputs = choose_outputs(graph, self._session.get_outputs())
        self._output_names = [one.name for one in self._session.get_outputs()]
        self.kind = "classification" if self._outputs.classifies else "regression"
        self.classes: list[Any] = []
        self.no_probabilities = ""

    def _read(self, path: Path) -> OnnxGraph:
        parsed = parse(path)
        if any(locations(parsed)):
            raise ValueError("its weights are in other files; save the model with its weights inside")
        return OnnxGraph(parsed)

    def table(self, data: pa.Table, names: Sequence[str] = ()) -> OnnxRows:
        return rows_of(data, self._inputs, self._names, names)

    def predict(self, rows: Any) -> list[Any]:
        answers: list[Any] = self._session.run(None, rows.inputs)
        return answers

    def outputs(self, rows: Any) -> Mapping[str, NDArray[Any]]:
        answers = dict(zip(self._output_names, self.predict(rows), strict=True))
        if self.kind == "regression":
            return {"predicted": numbers(np.asarray(answers[self._outputs.scores]), len(rows))}
        decoded = self._outputs.read(answers, len(rows))
        self.classes, self.no_probabilities = list(decoded.classes), decoded.no_probabilities
        predicted = {"predicted": decoded.positions}
        return predicted if decoded.probabilities is None else predicted | {"probabilities": decoded.probabilities}

"""How a model of each format is loaded, fed and asked. Runs in the worker process only."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modelward._artifacts import TRUSTED_TYPES
from modelward._onnx import external_files


class WrongDataError(Exception):
    """The data are not what the model takes."""


class Runner(Protocol):
    """A loaded model."""

    kind: str
    """`classification` or `regression`."""
    classes: list[Any]
    """The classes, in the order of the probabilities."""

    def table(self, data: pa.Table) -> Any:
        """Return the features as the model takes them; slices of it are rows."""

    def predict(self, rows: Any) -> Any:
        """Make the call that is timed."""

    def outputs(self, rows: Any) -> Mapping[str, NDArray[Any]]:
        """Return `predicted`: numbers, or positions in `classes`; of classes also `probabilities`, if there are any."""


def import_runtime(format_: str) -> ModuleType:
    """Import what runs models of a format, which is large; the limits shall count what the model takes beside it."""
    return importlib.import_module({"skops": "skops.io", "onnx": "onnxruntime", "pickle": "pickle"}[format_])


def load(runtime: ModuleType, path: Path) -> Runner:
    if runtime.__name__ == "onnxruntime":
        return OnnxModel(runtime, path)
    return Estimator(_load_pickle(runtime, path) if runtime.__name__ == "pickle" else _load_skops(runtime, path))


def _load_pickle(pickle: Any, path: Path) -> Any:
    """Run the code of whoever wrote the pickle: the server asks for it only where its operator allows that."""
    with path.open("rb") as file:
        return pickle.load(file)


def _load_skops(io: Any, path: Path) -> Any:
    strange = sorted(set(io.get_untrusted_types(file=path)) - set(TRUSTED_TYPES))
    if strange:
        raise TypeError(f"it holds types that this server does not trust: {', '.join(strange)}")
    return io.load(path, trusted=list(TRUSTED_TYPES))


class Estimator:
    """A scikit-learn model."""

    def __init__(self, model: Any) -> None:
        from sklearn.base import is_classifier

        self._model = model
        self.kind = "classification" if is_classifier(model) else "regression"
        self.classes = np.asarray(model.classes_).tolist() if self.kind == "classification" else []
        self.predict = model.predict

    def table(self, data: pa.Table) -> Any:
        names = getattr(self._model, "feature_names_in_", None)
        if names is not None:
            return chosen(data, [str(name) for name in names]).to_pandas()
        return matrix(data, getattr(self._model, "n_features_in_", None), np.float64)

    def outputs(self, rows: Any) -> Mapping[str, NDArray[Any]]:
        predicted = np.asarray(self.predict(rows))
        if self.kind == "regression":
            return {"predicted": numbers(predicted, len(rows))}
        found = {"predicted": positions(predicted, self.classes)}
        if hasattr(self._model, "predict_proba"):
            found["probabilities"] = np.asarray(self._model.predict_proba(rows), np.float64)
        return found


class OnnxModel:
    """An ONNX model: one input of shape (rows, features), or one of shape (rows, 1) for each feature by its name."""

    def __init__(self, runtime: Any, path: Path) -> None:
        if external_files(path):
            raise ValueError("its weights lie in other files; save the model with its weights inside")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._inputs, self._outputs = self._session.get_inputs(), self._session.get_outputs()
        labels = self._outputs[0].type in {"tensor(int64)", "tensor(string)"}
        self.kind = "classification" if labels else "regression"
        self.classes: list[Any] = []

    def table(self, data: pa.Table) -> Any:
        if len(self._inputs) == 1:
            [only] = self._inputs
            width = only.shape[1] if len(only.shape) == 2 and isinstance(only.shape[1], int) else None
            return matrix(data, width, DTYPES[only.type])
        return OnnxRows(
            {one.name: matrix(chosen(data, [one.name]), 1, DTYPES.get(one.type, np.object_)) for one in self._inputs}
        )

    def predict(self, rows: Any) -> list[Any]:
        feed = rows.columns if isinstance(rows, OnnxRows) else {self._inputs[0].name: rows}
        answers: list[Any] = self._session.run(None, feed)
        return answers

    def outputs(self, rows: Any) -> Mapping[str, NDArray[Any]]:
        predicted, *others = self.predict(rows)
        if self.kind == "regression":
            return {"predicted": numbers(np.asarray(predicted), len(rows))}
        labels = np.asarray(predicted).ravel()
        probabilities = self._probabilities(labels, others)
        found = {"predicted": positions(labels, self.classes)}
        return found if probabilities is None else found | {"probabilities": probabilities}

    def _probabilities(self, labels: NDArray[Any], others: Sequence[Any]) -> NDArray[np.float64] | None:
        """Return the probabilities and learn the classes: by name from a list of maps, of a tensor by their number."""
        self.classes = np.unique(labels).tolist()
        if others and isinstance(others[0], list):
            self.classes = sorted(others[0][0])
            return np.array([[row[name] for name in self.classes] for row in others[0]], np.float64)
        if not others or np.ndim(others[0]) != 2:
            return None
        count = np.shape(others[0])[1]
        if self._outputs[0].type == "tensor(int64)" and set(self.classes) <= set(range(count)):
            self.classes = list(range(count))  # Without names: the labels are the columns' numbers.
        return np.asarray(others[0], np.float64) if len(self.classes) == count else None


DTYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
"""What ONNX calls the types of its inputs."""


class OnnxRows:
    """Features as one input each."""

    def __init__(self, columns: Mapping[str, NDArray[Any]]) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, rows: slice) -> "OnnxRows":
        return OnnxRows({name: values[rows] for name, values in self.columns.items()})


def chosen(data: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return the columns of those names in that order.

    Raises:
        WrongDataError: one is not there.
    """
    missing = [name for name in names if name not in data.column_names]
    if missing:
        raise WrongDataError(f"has no column {', '.join(map(repr, missing))}, with which the model was trained")
    return data.select(names)


def matrix(data: pa.Table, width: int | None, dtype: type[np.generic]) -> NDArray[Any]:
    """Return all columns in their order as one matrix of numbers, or of objects where there is text.

    Raises:
        WrongDataError: there are more or fewer than `width`.
    """
    if width is not None and data.num_columns != width:
        raise WrongDataError(f"has {data.num_columns} feature columns, but the model takes {width}")
    text = any(pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in data.schema.types)
    columns = [column.to_numpy() for column in data.columns]
    return np.ascontiguousarray(np.column_stack(columns).astype(np.object_ if text else dtype))


def numbers(predicted: NDArray[Any], rows: int) -> NDArray[np.float64]:
    """Return predicted numbers as a vector."""
    if predicted.size != rows:
        raise ValueError(f"it predicted {predicted.shape} numbers for {rows} rows")
    return predicted.astype(np.float64).ravel()


def positions(predicted: NDArray[Any], classes: Sequence[Any]) -> NDArray[np.int64]:
    """Return the place of each predicted class among the classes."""
    if predicted.ndim != 1:
        raise ValueError(f"it predicted labels of shape {predicted.shape}; one label a row is compared")
    place = {name: number for number, name in enumerate(classes)}
    return np.array([place[value] for value in predicted.tolist()], np.int64)

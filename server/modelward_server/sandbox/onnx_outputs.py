"""Which of an ONNX model's outputs are the prediction, and what they mean. Runs in the worker process only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward_server.sandbox.model_tables import labels, positions
from modelward_server.sandbox.onnx_graph import CLASSES, Class, OnnxGraph

NUMBERS = {"tensor(float)", "tensor(double)", "tensor(float16)"}
LABELS = {f"tensor({kind})" for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")}
LABELS |= {"tensor(string)", "tensor(bool)"}
MAPS = "seq(map("
"""What the type begins with of one map a row, from classes to their probabilities."""
TOLERANCE = 1e-3
HALF_TOLERANCE = 1e-2
"""How far from 1 probabilities may add up, in float16 also."""


@dataclass(frozen=True)
class Predicted:
    """Classes that were predicted, and their probabilities or why there are none."""

    classes: Sequence[Class]
    positions: NDArray[np.int64]
    probabilities: NDArray[np.float64] | None = None
    no_probabilities: str = ""


@dataclass(frozen=True)
class OnnxOutputs:
    """The outputs that are read."""

    label: str
    """The output with the classes; empty when the scores alone tell, or numbers are predicted."""
    scores: str
    """The output with probabilities, or with the numbers that are predicted; empty when there is none."""
    classes: Sequence[Class] | None
    """In the order of the scores' columns; None where the model does not tell."""
    numbered: bool
    """Whether the label is the number of a column, and no class by itself."""
    classifies: bool
    no_scores: str = ""
    """Why there are no probabilities."""

    def read(self, answers: Mapping[str, Any], rows: int) -> Predicted:
        """Return the classes that a model predicted."""
        probabilities, classes, why = self._probabilities(answers.get(self.scores), rows)
        if not self.label:
            if probabilities is None or classes is None:
                raise ValueError(f"it gives no labels, and {why}")
            return Predicted(classes, probabilities.argmax(axis=1).astype(np.int64), probabilities)
        label = labels(np.asarray(answers[self.label]), rows)
        if self.numbered and classes is not None:
            return Predicted(classes, _column_numbers(label, len(classes)), probabilities, why)
        seen = np.unique(label).tolist()
        if classes is not None and set(seen) <= set(classes):
            return Predicted(classes, positions(label, classes), probabilities, why)
        if probabilities is not None:
            why = "it predicts labels that are not among the classes that it names"
        return Predicted(seen, positions(label, seen), None, why)

    def _probabilities(self, scores: Any, rows: int) -> tuple[NDArray[np.float64] | None, Sequence[Class] | None, str]:
        """Return the probabilities, the classes in their order, and why there is either of them not."""
        if scores is None:
            return None, self.classes, self.no_scores
        classes, found = self.classes, np.asarray([])
        if isinstance(scores, list):
            classes = sorted(scores[0])
            found = np.array([[row[name] for name in classes] for row in scores], np.float64)
        elif (given := np.asarray(scores)).ndim == 2 and len(given) == rows:
            found = _adding_up(given)
            classes = list(range(found.shape[1])) if classes is None and self.numbered else classes
        why = self._refused(found, classes, rows)
        return (None, self.classes, why) if why else (found, classes, "")

    def _refused(self, found: NDArray[np.float64], classes: Sequence[Class] | None, rows: int) -> str:
        """Say why scores are not taken for the probabilities of the classes."""
        if found.ndim != 2 or len(found) != rows:
            return f"its output {self.scores!r} has not one row of probabilities for each row"
        if classes is None:
            return f"which class each column of its output {self.scores!r} is of cannot be told from the model"
        if found.shape[1] != len(classes):
            return f"its output {self.scores!r} has {found.shape[1]} columns for {len(classes)} classes"
        is_wrong = (found < 0).any() or (np.abs(found.sum(axis=1) - 1) > TOLERANCE).any()  # NaN is told by the server.
        return f"its output {self.scores!r} holds scores that are no probabilities" if is_wrong else ""


def choose_outputs(graph: OnnxGraph, declared: Sequence[Any]) -> OnnxOutputs:
    """Find the outputs that are the prediction.

    Raises:
        ValueError: none is, or it cannot be told which one.
    """
    named = [one.name for one in declared if one.type in LABELS]
    maps = [one.name for one in declared if one.type.startswith(MAPS)]
    tensors = [one for one in declared if one.type in NUMBERS]
    if named:
        return _with_label(graph, declared, _only_label(graph, named), maps, tensors)
    classes = graph.named(CLASSES)
    if len(maps) == 1:
        return OnnxOutputs("", maps[0], None, False, True)
    if len(tensors) == 1 and classes:
        return OnnxOutputs("", tensors[0].name, classes, False, True)
    return OnnxOutputs("", _only_number(tensors, declared), None, False, False)


def _with_label(
    graph: OnnxGraph, declared: Sequence[Any], label: str, maps: Sequence[str], tensors: Sequence[Any]
) -> OnnxOutputs:
    [kind] = {one.type for one in declared if one.name == label}
    numbered = graph.is_column_number(label)
    classes = graph.classes(label)
    if classes and not numbered and (kind == "tensor(string)") != isinstance(classes[0], str):
        classes = list(map(str, classes)) if kind == "tensor(string)" else None
    fitting = [one.name for one in tensors if classes and one.shape[1:] == [len(classes)]]
    scores = next((one for one in (maps, [one.name for one in tensors], fitting) if len(one) == 1), [""])[0]
    several = f"it gives several outputs of numbers, {_listed([one.name for one in tensors])}, and none is known to be"
    no_scores = f"{several} the probabilities" if len(tensors) > 1 else ""
    return OnnxOutputs(label, scores, classes, numbered, True, "" if scores else no_scores)


def _only_label(graph: OnnxGraph, names: Sequence[str]) -> str:
    known = [name for name in names if graph.classes(name) or graph.is_column_number(name)]
    for found in (names, known):
        if len(found) == 1:
            return found[0]
    raise ValueError(f"it gives several labels for each row, {_listed(names)}; one label a row is compared")


def _only_number(tensors: Sequence[Any], declared: Sequence[Any]) -> str:
    one_each = [one for one in tensors if len(one.shape) < 2 or one.shape[1:] == [1]]
    for found in (tensors, one_each):
        if len(found) == 1:
            return str(found[0].name)
    if tensors:
        fix = "one number a row is compared"
        raise ValueError(f"it gives several outputs of numbers, {_listed([one.name for one in tensors])}; {fix}")
    kinds = _listed(f"{one.name} as {one.type}" for one in declared)
    raise ValueError(f"it gives {kinds}, of which no prediction is read; give a tensor of labels or of numbers")


def _adding_up(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return scores as float64; those of float16 that nearly add up to 1 do so then."""
    found = scores.astype(np.float64)
    totals = found.sum(axis=1, keepdims=True)
    if scores.dtype == np.float16 and (np.abs(totals - 1) < HALF_TOLERANCE).all():
        return np.asarray(found / totals, np.float64)
    return found


def _column_numbers(label: NDArray[Any], columns: int) -> NDArray[np.int64]:
    found = label.astype(np.int64)
    if not ((found >= 0) & (found < columns)).all():
        raise ValueError(f"it predicted a column beyond its {columns} classes")
    return found


def _listed(names: Any) -> str:
    return ", ".join(map(str, names))

"""Selection and interpretation of an ONNX model's prediction outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.formats.onnx_graph import CLASSES, Class, OnnxGraph
from modelward.formats.outputs import Outputs, labels, positions

NUMBERS = {"tensor(float)", "tensor(double)", "tensor(float16)"}
LABELS = {f"tensor({kind})" for kind in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")}
LABELS |= {"tensor(string)", "tensor(bool)"}
MAPS = "seq(map("
"""Prefix of the type with one map per row, from classes to their probabilities."""
TOLERANCE = 1e-3
HALF_TOLERANCE = 1e-2
"""Maximum deviation of the sum of probabilities from 1, for float16 outputs also."""


@dataclass(frozen=True)
class OnnxOutputs:
    """The outputs that are read."""

    label: str
    """The output with the classes; empty when they follow from the scores, or numbers are predicted."""
    scores: str
    """The output with probabilities, or with the predicted numbers; empty when there is none."""
    classes: Sequence[Class] | None
    """The classes in the order of the scores' columns; None where the model does not define them."""
    numbered: bool
    """Whether the label is the index of a column, not a class itself."""
    classifies: bool
    no_scores: str = ""
    """Why there are no probabilities."""

    def read(self, answers: Mapping[str, Any], rows: int) -> Outputs:
        """Return the classes that a model predicted."""
        probabilities, classes, why = self._probabilities(answers.get(self.scores), rows)
        if not self.label:
            if probabilities is None or classes is None:
                raise ValueError(f"it returns no labels, and {why}")
            return Outputs(probabilities.argmax(axis=1).astype(np.int64), classes, probabilities)
        label = labels(np.asarray(answers[self.label]), rows)
        if self.numbered and classes is not None:
            return Outputs(_column_numbers(label, len(classes)), classes, probabilities, why)
        predicted = np.unique(label).tolist()
        if classes is not None and set(predicted) <= set(classes):
            return Outputs(positions(label, classes), classes, probabilities, why)
        if probabilities is not None:
            why = "it predicts labels that are not among the classes that it names"
        return Outputs(positions(label, predicted), predicted, None, why)

    def _probabilities(self, scores: Any, rows: int) -> tuple[NDArray[np.float64] | None, Sequence[Class] | None, str]:
        """Return the probabilities, the classes in their order, and why either of them is missing."""
        if scores is None:
            return None, self.classes, self.no_scores
        classes, probabilities = self.classes, np.asarray([])
        if isinstance(scores, list):
            classes = sorted(scores[0])
            probabilities = np.array([[row[name] for name in classes] for row in scores], np.float64)
        elif (array := np.asarray(scores)).ndim == 2 and len(array) == rows:
            probabilities = _adding_up(array)
            classes = list(range(probabilities.shape[1])) if classes is None and self.numbered else classes
        why = self._refused(probabilities, classes, rows)
        return (None, self.classes, why) if why else (probabilities, classes, "")

    def _refused(self, probabilities: NDArray[np.float64], classes: Sequence[Class] | None, rows: int) -> str:
        """Return why scores are not accepted as the probabilities of the classes; empty when they are."""
        if probabilities.ndim != 2 or len(probabilities) != rows:
            return f"its output {self.scores!r} does not have one row of probabilities for each row"
        if classes is None:
            return f"the model does not define the class of each column of its output {self.scores!r}"
        if probabilities.shape[1] != len(classes):
            return f"its output {self.scores!r} has {probabilities.shape[1]} columns for {len(classes)} classes"
        is_wrong = (probabilities < 0).any() or (
            np.abs(probabilities.sum(axis=1) - 1) > TOLERANCE
        ).any()  # The server detects NaN.
        return f"its output {self.scores!r} holds scores that are not probabilities" if is_wrong else ""


def choose_outputs(graph: OnnxGraph, declared: Sequence[Any]) -> OnnxOutputs:
    """Choose the outputs that are the prediction.

    Raises:
        ValueError: there is none, or it is ambiguous.
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
    matching = [one.name for one in tensors if classes and one.shape[1:] == [len(classes)]]
    scores = next((one for one in (maps, [one.name for one in tensors], matching) if len(one) == 1), [""])[0]
    several = f"it returns several numeric outputs, {_listed([one.name for one in tensors])}, and none is known to be"
    no_scores = f"{several} the probabilities" if len(tensors) > 1 else ""
    return OnnxOutputs(label, scores, classes, numbered, True, "" if scores else no_scores)


def _only_label(graph: OnnxGraph, names: Sequence[str]) -> str:
    known = [name for name in names if graph.classes(name) or graph.is_column_number(name)]
    for candidates in (names, known):
        if len(candidates) == 1:
            return candidates[0]
    raise ValueError(f"it returns several labels for each row, {_listed(names)}; expected one label per row")


def _only_number(tensors: Sequence[Any], declared: Sequence[Any]) -> str:
    one_each = [one for one in tensors if len(one.shape) < 2 or one.shape[1:] == [1]]
    for candidates in (tensors, one_each):
        if len(candidates) == 1:
            return str(candidates[0].name)
    if tensors:
        fix = "expected one number per row"
        raise ValueError(f"it returns several numeric outputs, {_listed([one.name for one in tensors])}; {fix}")
    kinds = _listed(f"{one.name} as {one.type}" for one in declared)
    raise ValueError(f"it returns {kinds}, none of which is a prediction; return labels or numbers as a tensor")


def _adding_up(scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return scores as float64; float16 scores that nearly add up to 1 are normalised."""
    values = scores.astype(np.float64)
    totals = values.sum(axis=1, keepdims=True)
    if scores.dtype == np.float16 and (np.abs(totals - 1) < HALF_TOLERANCE).all():
        return np.asarray(values / totals, np.float64)
    return values


def _column_numbers(label: NDArray[Any], columns: int) -> NDArray[np.int64]:
    numbers = label.astype(np.int64)
    if not ((numbers >= 0) & (numbers < columns)).all():
        raise ValueError(f"it predicted a column beyond its {columns} classes")
    return numbers


def _listed(names: Any) -> str:
    return ", ".join(map(str, names))

"""The predictions of a model, in the same form for every format."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.signature import ClassLabel


@dataclass(frozen=True)
class Outputs:
    """Predicted numbers or classes, and the classes' probabilities or the reason why there are none."""

    predicted: NDArray[Any]
    """Shape (rows,): float64, or int64 indices into `classes`."""
    classes: Sequence[ClassLabel] | None = None
    """The classes in the order of the probabilities; None for numbers."""
    probabilities: NDArray[np.float64] | None = None
    """Shape (rows, classes); None if the model gives none."""
    no_probabilities: str = ""
    """Why a classifier's scores are not used as probabilities; empty if they are, or if it has none."""

    def labels(self) -> NDArray[Any]:
        """Return the predicted numbers, or the predicted classes themselves."""
        return self.predicted if self.classes is None else label_array(self.classes)[self.predicted]


def label_array(classes: Sequence[ClassLabel]) -> NDArray[Any]:
    """Return classes as an array, without conversion of numbers beside text."""
    same = len({type(label) for label in classes}) == 1
    return np.array(list(classes), dtype=None if same else object)


def numbers(predicted: NDArray[Any], rows: int) -> NDArray[np.float64]:
    """Return predicted numbers as a vector."""
    if predicted.size != rows:
        raise ValueError(
            f"it predicted numbers of shape {predicted.shape} for {rows} rows; expected one number per row"
        )
    return predicted.astype(np.float64).ravel()


def labels(predicted: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return predicted classes as a vector."""
    if predicted.size != rows:
        raise ValueError(f"it predicted labels of shape {predicted.shape} for {rows} rows; expected one label per row")
    return predicted.ravel()


def positions(predicted: NDArray[Any], classes: Sequence[Any]) -> NDArray[np.int64]:
    """Return the index of each predicted class in the classes."""
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[value] for value in predicted.tolist()], np.int64)

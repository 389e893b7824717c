"""What the formats of gradient boosting share: recognition of objects, signatures, and the predictor."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.formats.base import package_of
from modelward.formats.outputs import Outputs, label_array, numbers
from modelward.formats.predictor import Predictor
from modelward.signature import ClassLabel, ColumnKind, Signature

Array = NDArray[Any]
Categories = Mapping[int, Mapping[Any, int]]
"""The codes of each category, by the position of the column."""


def is_of(model: object, library: str) -> bool:
    """Return whether an object is a booster or an estimator that a library itself defines, without importing it.

    A class of somebody else's that derives from the library's may predict otherwise, which the library's file does not
    keep.

    Args:
        model: any object.
        library: the name of its package.
    """
    kind = type(model)
    is_own = package_of(kind) == library
    return is_own and (kind.__name__ == "Booster" or (hasattr(kind, "fit") and hasattr(kind, "get_params")))


def kinds_of(width: int, categories: Categories) -> list[ColumnKind]:
    """Return the kinds of a booster's columns: text where its categories are text, and numbers elsewhere.

    Args:
        width: the number of columns.
        categories: the codes of each category, by the position of the column.
    """
    text = {i for i, codes in categories.items() if any(isinstance(value, str) for value in codes)}
    return [ColumnKind.CATEGORY if i in text else ColumnKind.NUMBER for i in range(width)]


def with_classes(own: Signature, classes: Sequence[ClassLabel]) -> Signature:
    """Return a classifier's signature with the classes that its file does not keep.

    Args:
        own: what the file says, whose classes are 0, 1, 2, ...
        classes: the classes in their order; empty if they are those of the file.

    Raises:
        ValueError: there are more or fewer than the model has.
    """
    if not classes or not own.classes:
        return own
    if len(classes) != len(own.classes):
        raise ValueError(f"its signature has {len(classes)} classes, but the model has {len(own.classes)}")
    outputs = Signature.of(classes=classes, probabilities=True).outputs
    return replace(own, outputs=outputs, classes=tuple(classes))


class BoosterPredictor(Predictor):
    """A booster, which gives a number for each row, or the probabilities of its classes."""

    def __init__(self, raw: Any, own: Signature, signature: Signature | None, categories: Categories) -> None:
        """Wrap a booster.

        Args:
            raw: the library's booster.
            own: its own signature.
            signature: the version's; None if it has none.
            categories: the codes of each category, by the position of the column; none if the booster knows them.
        """
        self._categories = categories
        complete = with_classes(own, signature.classes if signature else ()).completed(signature)
        super().__init__(raw, complete, given_names=not own.names)
        self._labels = label_array(self.classes) if self.classes else np.empty(0)

    def _calls(self) -> None:
        self.in_frame = False
        if self.classes:
            self._offer_probabilities()

    def predict(self, table: Any) -> Array:
        """Predict each row of a table; see `Predictor.predict`."""
        scores: Array = self.call(self._rows(table))
        return self._labels[_probabilities(scores).argmax(axis=1)] if self.classes else scores

    def _predict_proba(self, table: Any) -> Array:
        return _probabilities(self.call(self._rows(table)))

    def outputs(self, rows: Any) -> Outputs:
        """Return the predictions of rows from `prepare`."""
        scores = np.asarray(self.call(rows))
        if not self.classes:
            return Outputs(numbers(scores, len(rows)))
        probabilities = _probabilities(scores)
        return Outputs(probabilities.argmax(axis=1), self.classes, probabilities.astype(np.float64))

    def from_columns(self, columns: Mapping[str, Array]) -> Any:
        """Return columns in order as a matrix, with categories as their codes."""
        return super().from_columns(dict(zip(columns, self._coded(columns.values()), strict=True)))

    def _from_chosen(self, rows: Array) -> Any:
        if not self._categories:
            return super()._from_chosen(rows)
        return self.from_columns(dict(zip(self._last_chosen, rows.T, strict=True)))

    def _coded(self, columns: Iterable[Array]) -> Iterable[Array]:
        for i, column in enumerate(columns):
            codes = self._categories.get(i)
            yield column if codes is None else np.array([codes.get(value, np.nan) for value in column.tolist()], float)

    def _matrix(self, frame: Any) -> Any:
        return self._from_columns(frame) if self._categories else super()._matrix(frame)


def _probabilities(scores: Array) -> Array:
    """Return the probabilities of all classes, given those of the second one of two, or those of all."""
    return scores if scores.ndim == 2 else np.column_stack([1 - scores, scores])

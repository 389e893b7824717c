"""Predictions of registered models that the server made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelward._record import TableRecord, counted, sentence
from modelward.lifecycle import Stage, VersionRef
from modelward.signature import ClassLabel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, repr=False, eq=False)
class Scores(TableRecord):
    """The predictions of one version for the rows of a table."""

    version: VersionRef
    """The version that answered."""
    digest: str
    """The SHA-256 of its manifest: which files answered."""
    stage: Stage
    """Its stage, now or at the requested time."""
    predictions: NDArray[Any]
    """Shape (rows,): float64, or the predicted classes themselves. One without an answer has NaN, or None as class."""
    probabilities: NDArray[np.float64] | None = None
    """Shape (rows, classes), NaN where the model does not answer; None if it gives none."""
    classes: tuple[ClassLabel, ...] = ()
    """The classes in the order of the probabilities; empty for a model that predicts numbers."""
    rows: NDArray[np.int64] | None = None
    """With `top_k`, of shape (rows,): the row of each prediction, counted from 0, the highest score first. None
    otherwise."""
    ties: int = 0
    """With `top_k`, the number of further rows with the score of the last one."""
    failed: Mapping[int, str] = field(default_factory=dict)
    """With `row_errors`, why the model failed for which row."""
    no_probabilities: str = ""
    """Why the model's probabilities are not given; empty if they are, or if it has none."""
    model_seconds: float = 0.0
    """The time in which the model predicted, in seconds."""
    variant: str = ""
    """With `ab_test`, the variant that answered."""
    in_test: bool = False
    """With `ab_test`, whether the unit takes part in the test; otherwise it got the control, or the winner."""
    sequence: int = 0
    """The position in the order of changes at which the version was chosen."""

    def _describe(self) -> str:
        failed = f"{counted(len(self.failed), 'row')} failed" if self.failed else ""
        return sentence(f"{self.version} ({self.stage})", counted(len(self.predictions), "prediction"), failed)

    def _rows(self) -> Sequence[Any]:
        numbers = range(len(self.predictions)) if self.rows is None else self.rows.tolist()
        rows = [
            {"row": row, "prediction": value} for row, value in zip(numbers, self.predictions.tolist(), strict=True)
        ]
        if self.probabilities is not None:
            for row, values in zip(rows, self.probabilities.tolist(), strict=True):
                row.update({f"probability:{name}": value for name, value in zip(self.classes, values, strict=True)})
        return rows

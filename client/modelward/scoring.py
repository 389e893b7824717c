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
    """The predictions of one version for the rows of a table.

    Attributes:
        version: the version that answered.
        digest: the SHA-256 of its manifest: which files answered.
        stage: its stage, now or at the requested time.
        predictions: shape (rows,): float64, or the predicted classes themselves. A row that the model does not answer
            has NaN, or None in place of a class.
        probabilities: float64 of shape (rows, classes), NaN where the model does not answer; None if it gives none.
        classes: the classes in the order of the probabilities; empty for a model that predicts numbers.
        rows: with `top_k`, int64 of shape (rows,): the row of each prediction, counted from 0, the highest score first.
            None otherwise.
        ties: with `top_k`, the number of further rows with the score of the last one.
        failed: with `row_errors`, why the model failed for which row.
        no_probabilities: why the model's probabilities are not given; empty if they are, or if it has none.
        model_seconds: the time in which the model predicted, in seconds.
        variant: with `ab_test`, the variant that answered.
        in_test: with `ab_test`, whether the unit takes part in the test; otherwise it got the control, or the winner.
        sequence: the position in the order of changes at which the version was chosen.
    """

    version: VersionRef
    digest: str
    stage: Stage
    predictions: NDArray[Any]
    probabilities: NDArray[np.float64] | None = None
    classes: tuple[ClassLabel, ...] = ()
    rows: NDArray[np.int64] | None = None
    ties: int = 0
    failed: Mapping[int, str] = field(default_factory=dict)
    no_probabilities: str = ""
    model_seconds: float = 0.0
    variant: str = ""
    in_test: bool = False
    sequence: int = 0

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

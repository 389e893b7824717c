"""The rows with the highest scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import ModelKind
from modelward.errors import FieldViolation, InvalidField
from modelward_server.sandbox.sandbox import Run


@dataclass(frozen=True)
class Ranking:
    """The rows with the highest scores, and how many more share the last of these."""

    rows: NDArray[np.int64]
    """Shape (rows,), the highest score first; of equal scores the first row of the table."""
    ties: int
    """Further rows with the score of the last one."""


def highest(run: Run, number: int) -> Ranking:
    """Return the rows with the highest scores; rows that the model does not answer are left out.

    Args:
        run: the predictions. The score is the predicted number, or of two classes the probability of the second.
        number: the number of rows.

    Raises:
        InvalidField: the model has no such score.
    """
    scores = _scores(run)
    answered = np.flatnonzero(~np.isnan(scores))
    order = answered[np.argsort(-scores[answered], kind="stable")]
    rows = order[:number]
    ties = int(np.count_nonzero(scores[order[number:]] == scores[rows[-1]])) if len(rows) else 0
    return Ranking(rows, ties)


def _scores(run: Run) -> NDArray[np.float64]:
    if run.kind is ModelKind.REGRESSION:
        return run.predicted
    if run.probabilities is None or len(run.classes) != 2:
        fix = "ranks by a number, or by the probability of the second of two classes, which this model does not give"
        raise InvalidField(FieldViolation("options.top_k", fix))
    return run.probabilities[:, 1]

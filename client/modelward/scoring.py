"""Predictions of registered models that the server made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from modelward._record import Record, TableRecord, brief, counted, quoted, sentence
from modelward.lifecycle import Stage, VersionRef
from modelward.signature import ClassLabel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, repr=False)
class LoggedAnswer(Record):
    """What the log says of a version's answers up to a past time, beside its answer now."""

    request_id: str = ""
    """The request id of its last logged answer for the same rows; empty if none is for these rows."""
    scored_at: datetime | None = None
    """The time of that answer, in UTC."""
    same_answer: bool | None = None
    """Whether the version answers the same now, bit for bit; None without such an answer."""
    library_changes: tuple[str, ...] = ()
    """The libraries that predict with other releases now, such as `scikit-learn 1.5.0 then, 1.6.1 now`; without an
    answer for the same rows, since the last logged answer of the version."""


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
    request_id: str = ""
    """The id of the call, which identifies it in the log of scores; of a stream, that of the part."""
    logged: LoggedAnswer | None = None
    """With `as_of`, how this answer compares with what was logged then; None if the log has nothing of the version."""

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


@dataclass(frozen=True, repr=False)
class ScoreRecord(Record):
    """One version's answer to one call that scored, as the server logged it."""

    request_id: str
    """The id of the call."""
    scored_at: datetime
    """When the version was chosen for it, or the table of a stream came, in UTC."""
    actor: str
    """The client: the name in its credential; without authentication the actor that it sent, or else its address."""
    authenticated: bool
    """Whether a credential proved that name."""
    version: VersionRef
    """The version that answered."""
    digest: str
    """The SHA-256 of its manifest: which files answered."""
    stage: Stage
    """Its stage, at `as_of` if that is given."""
    method: str
    """The method that was called: `Score`, `ScoreStream` or `ModelInfer`."""
    rows: int
    """The number of rows."""
    rows_sha256: str
    """The SHA-256 of the rows; `scoring.proto` defines it."""
    answer_sha256: str
    """The SHA-256 of the predictions and probabilities; empty if the version failed."""
    libraries: tuple[str, ...] = ()
    """The releases of what predicted, such as `scikit-learn 1.6.1`."""
    as_of: datetime | None = None
    """The past time that the call asked for, in UTC; None for none."""
    ab_test: str = ""
    """With an A/B test, its name."""
    unit: str = ""
    """With an A/B test, the unit whose variant answered."""
    variant: str = ""
    """With an A/B test, the name of that variant."""
    error: str = ""
    """The reason of the error if the version failed, such as `MODEL_FAILED`; empty if it answered."""

    def _describe(self) -> str:
        said = f"failed with {self.error}" if self.error else f"answered {quoted(self.actor)}"
        return sentence(f"{self.version} {said}", brief(self.scored_at), counted(self.rows, "row"), self.request_id)

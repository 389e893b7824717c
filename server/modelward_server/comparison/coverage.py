"""Which rows every version answered: only these are compared, so that no version gains by rows that it leaves out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.errors import FieldViolation, InvalidField, ModelFailed
from modelward.kinds import missing_in
from modelward.lifecycle import VersionRef
from modelward.shared.figures import in_words, percent
from modelward_server.comparison.prediction_alignment import Answers, Ints
from modelward_server.sandbox.sandbox import Run


@dataclass(frozen=True)
class CommonRows:
    """The rows that every version answered.

    Attributes:
        rows: their numbers in the test data, ascending.
        answers: the predictions of each version that answered a row, for these rows.
        coverage: the share of the rows with a label that each version answered, from 0 to 1.
        failures: why versions answered nothing.
        notes: what was left out.
    """

    rows: Ints
    answers: Mapping[VersionRef, Answers]
    coverage: Mapping[VersionRef, float]
    failures: Mapping[VersionRef, str]
    notes: tuple[str, ...]


def answers_of(run: Run) -> Answers:
    """Return the predictions of a model that ran over all rows, without those that are NaN."""
    rows = run.answered
    return Answers(run if len(rows) == len(run.predicted) else run.in_order(rows), rows)


def complete_rows(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Return in which rows no column, such as the labels or the returns, is missing, shape (rows,)."""
    return reduce(np.logical_and, (~missing_in(column) for column in columns))


def common_rows(answers: Mapping[VersionRef, Answers], complete: NDArray[np.bool_], wanted: str) -> CommonRows:
    """Return the rows that every version answered, of those that are complete; versions without any fail.

    Args:
        answers: the predictions of each version.
        complete: which rows of the test data have a label and what else is needed, shape (rows,).
        wanted: what that is, for notes, such as "label".

    Raises:
        ModelFailed: fewer than two versions answered a row.
        InvalidField: no row is complete, or none was answered by all that answered one.
    """
    known = int(complete.sum())
    if not known:
        raise InvalidField(FieldViolation("data", f"has no row with a {wanted}; send some"))
    counts = {version: int(complete[one.rows].sum()) for version, one in answers.items()}
    why = f"answered none of the {known:,} rows with a {wanted}: its predictions are missing, NaN or of other ids"
    failures = {version: f"{version} {why}" for version, count in counts.items() if not count}
    kept = {version: one for version, one in answers.items() if version not in failures}
    if len(kept) < 2:
        reasons = "; ".join(failures.values())
        raise ModelFailed(f"fewer than two models answered, so there is nothing to compare: {reasons}")
    coverage = {version: count / known for version, count in counts.items()}
    common = complete.copy()
    for one in kept.values():
        answered = np.zeros(len(complete), np.bool_)
        answered[one.rows] = True
        common &= answered
    rows = np.flatnonzero(common)
    if not len(rows):
        shares = ", ".join(f"{version} {in_words(percent(coverage[version]))}" for version in kept)
        fix = f"have no row that all of them answered ({shares}); leave one out, or send its missing predictions"
        raise InvalidField(FieldViolation("versions", fix))
    notes = tuple(_notes(complete, len(rows), {version: coverage[version] for version in kept}, wanted))
    return CommonRows(rows, {version: one.on(rows) for version, one in kept.items()}, coverage, failures, notes)


def _notes(
    complete: NDArray[np.bool_], common: int, coverage: Mapping[VersionRef, float], wanted: str
) -> Iterator[str]:
    known = int(complete.sum())
    if known < len(complete):
        yield f"{len(complete) - known:,} of {len(complete):,} rows have no {wanted} yet and are excluded"
    if common < known:
        shares = ", ".join(
            f"{version} answered {in_words(percent(share))}" for version, share in coverage.items() if share < 1
        )
        yield f"{known - common:,} of {known:,} rows lack a prediction of some version and are excluded: {shares}"

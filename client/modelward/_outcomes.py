"""Convert arrays of predictions and labels to outcomes, in batches of the size of one call."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from modelward._columns import as_column, as_numbers
from modelward.drift import Outcome, RecordedOutcomes
from modelward.errors import FieldViolation, InvalidField
from modelward.shared.row_ids import id_texts

BATCH = 10_000
ARGUMENTS = {"prediction": "predictions", "probability": "probabilities", "label": "labels"}
"""Parameter names of the columns."""


def to_outcomes(ids: Iterable[object], **columns: Any) -> list[Outcome]:
    """Create an outcome for each row; a column is None, one timestamp for all rows, or a value for each row.

    Raises:
        InvalidField: an id is missing, a column has another length than `ids`, or a value is not a number.
    """
    names = id_texts(as_column(ids, "ids"))
    values = {field: _column(field, column, len(names)) for field, column in columns.items()}
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return [_outcome(name, row) for name, row in zip(names, rows, strict=True)]


def batches(outcomes: Sequence[Outcome]) -> Iterator[Sequence[Outcome]]:
    """Yield the outcomes in batches of the size of one call."""
    for start in range(0, len(outcomes), BATCH):
        yield outcomes[start : start + BATCH]


def total(recorded: Sequence[RecordedOutcomes]) -> RecordedOutcomes:
    """Sum the results of several calls."""
    return RecordedOutcomes(
        sum(one.predictions for one in recorded),
        sum(one.labels for one in recorded),
        sum(one.waiting for one in recorded),
    )


def _column(field: str, column: Any, rows: int) -> list[Any]:
    if column is None or (isinstance(column, datetime) and field.endswith("_at")):
        return [column] * rows
    values = list(column) if field.endswith("_at") else as_numbers(column, ARGUMENTS[field])
    if len(values) != rows:
        fix = f"has {len(values)} values for {rows} ids; give one for each"
        raise InvalidField(FieldViolation(ARGUMENTS.get(field, field), fix))
    return values


def _outcome(name: str, row: dict[str, Any]) -> Outcome:
    """Omit the timestamps of absent values: one timestamp for all rows applies only to rows that have a value."""
    predicted_at = row["predicted_at"] if row["prediction"] is not None else None
    labelled_at = row["labelled_at"] if row["label"] is not None else None
    return Outcome(name, **row | {"predicted_at": predicted_at, "labelled_at": labelled_at})

"""Arrays of predictions and labels as outcomes, in batches that one call takes."""

import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from modelward.drift import Outcome, RecordedOutcomes
from modelward.errors import FieldViolation, InvalidField

BATCH = 10_000


def to_outcomes(ids: Iterable[object], **columns: Any) -> list[Outcome]:
    """Make an outcome of each row; a column is None, one instant for all rows, or a value for each.

    Raises:
        InvalidField: a column has another length than `ids`.
    """
    names = [str(name) for name in ids]
    values = {field: _column(field, column, len(names)) for field, column in columns.items()}
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return [_outcome(name, row) for name, row in zip(names, rows, strict=True)]


def batches(outcomes: Sequence[Outcome]) -> Iterator[Sequence[Outcome]]:
    """Yield the outcomes in parts that one call takes."""
    for start in range(0, len(outcomes), BATCH):
        yield outcomes[start : start + BATCH]


def total(recorded: Sequence[RecordedOutcomes]) -> RecordedOutcomes:
    """Add up what several calls kept."""
    return RecordedOutcomes(
        sum(one.predictions for one in recorded),
        sum(one.labels for one in recorded),
        sum(one.waiting for one in recorded),
    )


def _column(field: str, column: Any, rows: int) -> list[Any]:
    if column is None or isinstance(column, datetime):
        return [column] * rows
    values = list(column) if field.endswith("_at") else [_number(value) for value in column]
    if len(values) != rows:
        raise InvalidField(FieldViolation(field, f"has {len(values)} values for {rows} ids; give one for each"))
    return values


def _number(value: Any) -> float | None:
    number = None if value is None else float(value)
    return None if number is None or math.isnan(number) else number  # NaN is what arrays hold where nothing is known.


def _outcome(name: str, row: dict[str, Any]) -> Outcome:
    """Leave out the instants of what is not there: one for all rows is meant for those that have it."""
    predicted_at = row["predicted_at"] if row["prediction"] is not None else None
    labelled_at = row["labelled_at"] if row["label"] is not None else None
    return Outcome(name, **row | {"predicted_at": predicted_at, "labelled_at": labelled_at})

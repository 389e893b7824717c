"""Convert arrays of predictions and labels to outcomes, in batches of the size of one call."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from modelward._columns import as_column, as_numbers
from modelward.drift import Outcome, RecordedOutcomes
from modelward.errors import FieldViolation, InvalidField
from modelward.shared.row_ids import id_texts
from modelward.shared.times import parse_instant

BATCH = 10_000
TIMES = ("predicted_at", "labelled_at")
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
    predicted = columns["prediction"] is not None
    return [_outcome(name, row, predicted) for name, row in zip(names, rows, strict=True)]


def answered(outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """Leave out the rows with neither a prediction nor a label, unless all are so, which the server refuses."""
    return [one for one in outcomes if one.prediction is not None or one.label is not None] or outcomes


def times(predicted_at: Any, time: Any) -> Any:
    """Return the time of each prediction, given in either of two ways.

    Args:
        predicted_at: one datetime for all, or one for each.
        time: one time for each, a column of dates, datetimes or ISO 8601 text; without a zone in UTC.

    Raises:
        InvalidField: both are given, or a time is missing or of another kind.
    """
    if time is None:
        return predicted_at
    if predicted_at is not None:
        raise InvalidField(FieldViolation("time", "is the time of each prediction, as predicted_at is; give one"))
    from modelward.kinds import is_time, missing_in, to_column  # Imported here, because importing numpy takes time.

    column = to_column(as_column(time, "time"), "time")
    if not is_time(column):
        return [_instant(value, f"time[{row}]") for row, value in enumerate(column)]
    if missing_in(column).any():
        raise InvalidField(FieldViolation("time", "is missing in a row; give every prediction its time"))
    return [value.replace(tzinfo=UTC) for value in column.astype("M8[us]").tolist()]


def _instant(value: Any, field: str) -> datetime:
    try:
        return parse_instant(value)
    except (TypeError, ValueError):
        fix = "give dates, datetimes or ISO 8601 text"
        raise InvalidField(FieldViolation(field, f"is {value!r}, which is not a time; {fix}")) from None


def batches(outcomes: Sequence[Outcome]) -> Iterator[Sequence[Outcome]]:
    """Yield the outcomes in batches of the size of one call."""
    for start in range(0, len(outcomes), BATCH):
        yield outcomes[start : start + BATCH]


def total(recorded: Sequence[RecordedOutcomes], left_out: int) -> RecordedOutcomes:
    """Sum the results of several calls, and the rows that were not sent."""
    return RecordedOutcomes(
        sum(one.predictions for one in recorded),
        sum(one.labels for one in recorded),
        sum(one.waiting for one in recorded),
        left_out + sum(one.left_out for one in recorded),
    )


def _column(field: str, column: Any, rows: int) -> list[Any]:
    if column is None or (isinstance(column, datetime) and field in TIMES):
        return [column] * rows
    values = _values(field, column)
    if len(values) != rows:
        fix = f"has {len(values)} values for {rows} ids; give one for each"
        raise InvalidField(FieldViolation(ARGUMENTS.get(field, field), fix))
    return values


def _values(field: str, column: Any) -> list[Any]:
    if field in TIMES:
        return list(column)
    return id_texts(as_column(column, "group"), "group") if field == "group" else as_numbers(column, ARGUMENTS[field])


def _outcome(name: str, row: dict[str, Any], predicted: bool) -> Outcome:
    """Omit what belongs to absent values: one timestamp for all rows applies only to rows that have a value.

    Args:
        predicted: whether there are predictions at all; without any, a probability is left for the server to refuse.
    """
    if row["label"] is None:
        row |= {"labelled_at": None}
    if row["prediction"] is None:
        row |= {"predicted_at": None, "group": None, "probability": None if predicted else row["probability"]}
    return Outcome(name, **row | {"group": row["group"] or ""})

"""Predictions that were made elsewhere: read, checked, and set beside the truth by the ids of their rows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import ModelKind
from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField
from modelward.kinds import is_time, kind_of
from modelward.lifecycle import VersionRef
from modelward.shared.row_ids import id_texts
from modelward_server.comparison.scoring import count_missing
from modelward_server.sandbox.sandbox import MAX_PREDICTION, Run
from modelward_server.statistics.trading import Floats

PREDICTION, PROBABILITY, POSITION = "prediction", "probability", "position"
BY_CLASS = f"{PROBABILITY}:"
"""What the name of a column with the probability of one class begins with."""


@dataclass(frozen=True)
class Sent:
    """One version's predictions, one for each row."""

    run: Run
    positions: Floats | None


@dataclass(frozen=True)
class Aligned:
    """The rows that the test data and all predictions share, in the order of the test data."""

    columns: Columns
    """The test data without its ids."""
    predictions: Mapping[VersionRef, Columns]
    left_out: int
    """How many rows of the test data have no prediction of every version."""


def align(data: Columns, predictions: Mapping[VersionRef, Columns], name: str) -> Aligned:
    """Join tables by the ids of their rows.

    Args:
        name: the column of ids in every table.

    Raises:
        InvalidField: a table has no ids or one twice, or no row is in all tables.
    """
    fields = {version: f"predictions[{number}].data" for number, version in enumerate(predictions)}
    ids = _ids(data, name, "data")
    places = {version: _places(_ids(table, name, fields[version])) for version, table in predictions.items()}
    shared = reduce(lambda kept, known: kept & known.keys(), places.values(), set(ids))
    rows = np.array([row for row, key in enumerate(ids) if key in shared], np.int64)
    if not len(rows):
        raise InvalidField(FieldViolation("predictions", f"share no {name} with the data; send the ids of its rows"))
    found = {
        version: _taken(table, np.array([places[version][ids[row]] for row in rows]), name)
        for version, table in predictions.items()
    }
    return Aligned(_taken(data, rows, name), found, len(ids) - len(rows))


def read_predictions(table: Columns, truth: NDArray[Any], field: str) -> Sent:
    """Read one version's predictions: text, truth values and whole numbers are classes, other numbers are numbers.

    Args:
        table: aligned with the truth.
        field: where the table stands in the request, for errors.

    Raises:
        InvalidField: a column is missing, or holds what is no prediction.
    """
    if PREDICTION not in table:
        raise InvalidField(FieldViolation(field, f"has no column {PREDICTION!r}; it has {', '.join(sorted(table))}"))
    if is_time(table[PREDICTION]):
        fix = "holds times; send numbers, text or truth values"
        raise InvalidField(FieldViolation(f"{field}[{PREDICTION!r}]", fix))
    predicted, given = table[PREDICTION], any(name.startswith(PROBABILITY) for name in table)
    positions = _finite(table[POSITION], f"{field}[{POSITION!r}]") if POSITION in table else None
    if predicted.dtype == np.float64 and not given:
        numbers = _finite(predicted, f"{field}[{PREDICTION!r}]")
        return Sent(Run(ModelKind.REGRESSION, (), numbers, None, None), positions)
    return Sent(_classes(table, predicted, truth, field), positions)


def _classes(table: Columns, predicted: NDArray[Any], truth: NDArray[Any], field: str) -> Run:
    if count_missing(predicted):
        raise InvalidField(FieldViolation(f"{field}[{PREDICTION!r}]", "has missing values; leave those rows out"))
    answers = _labels(predicted)
    named = {name.removeprefix(BY_CLASS): name for name in table if name.startswith(BY_CLASS)}
    known = set(answers) | set(_labels(truth))
    by_text = {str(value): value for value in known}
    known |= {by_text.get(text, text) for text in named}
    if len({isinstance(value, str) for value in known}) > 1:
        raise InvalidField(FieldViolation(field, "predicts text where the label has numbers, or the other way round"))
    classes = tuple(sorted(known))
    place = {value: number for number, value in enumerate(classes)}
    run = Run(ModelKind.CLASSIFICATION, classes, np.array([place[answer] for answer in answers], np.int64), None, None)
    if named:
        return replace(run, probabilities=_by_class(table, named, classes, field))
    return replace(run, probabilities=_of_the_greater(table, classes, field)) if PROBABILITY in table else run


def _labels(values: NDArray[Any]) -> list[Any]:
    """Return classes; whole numbers that came as floats are whole."""
    if values.dtype == np.float64 and np.array_equal(values, np.round(values)):
        return [int(value) for value in values]
    found: list[Any] = values.tolist()
    return found


def _by_class(table: Columns, named: Mapping[str, str], classes: tuple[Any, ...], field: str) -> Floats:
    absent = np.zeros(len(table[PREDICTION]))
    columns = [
        _share(table[named[str(value)]], f"{field}[{named[str(value)]!r}]") if str(value) in named else absent
        for value in classes
    ]
    found = np.column_stack(columns)
    if not (np.abs(found.sum(axis=1) - 1) < 1e-3).all():
        raise InvalidField(FieldViolation(field, "has probabilities that do not add up to 1 in every row"))
    return found


def _of_the_greater(table: Columns, classes: tuple[Any, ...], field: str) -> Floats:
    if len(classes) != 2:
        fix = f"is of two classes, but there are {len(classes)}; name a column for each, as '{BY_CLASS}up'"
        raise InvalidField(FieldViolation(f"{field}[{PROBABILITY!r}]", fix))
    greater = _share(table[PROBABILITY], f"{field}[{PROBABILITY!r}]")
    return np.column_stack([1 - greater, greater])


def _share(values: NDArray[Any], field: str) -> Floats:
    found = _finite(values, field)
    if ((found < 0) | (found > 1)).any():
        raise InvalidField(FieldViolation(field, "holds probabilities below 0 or above 1"))
    return found


def _finite(values: NDArray[Any], field: str) -> Floats:
    if values.dtype == object or is_time(values):
        raise InvalidField(FieldViolation(field, f"holds {kind_of(values)}; send numbers"))
    found = values.astype(np.float64)
    if not (np.abs(found) < MAX_PREDICTION).all():
        fix = f"holds NaN, infinity or more than {MAX_PREDICTION:g}; leave those rows out"
        raise InvalidField(FieldViolation(field, fix))
    return found


def _ids(table: Columns, name: str, field: str) -> list[str]:
    if name not in table:
        raise InvalidField(FieldViolation(field, f"has no column {name!r} with the ids of its rows"))
    found = id_texts(table[name], f"{field}[{name!r}]")
    if len(set(found)) < len(found):
        raise InvalidField(FieldViolation(f"{field}[{name!r}]", "names a row twice; each row needs an id of its own"))
    return found


def _places(ids: list[str]) -> dict[str, int]:
    return {key: place for place, key in enumerate(ids)}


def _taken(table: Columns, rows: NDArray[np.int64], name: str) -> Columns:
    return {column: values[rows] for column, values in table.items() if column != name}

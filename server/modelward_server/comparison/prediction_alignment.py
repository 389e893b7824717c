"""Read and validate predictions that were computed elsewhere, and align them with the labels by row id."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import CustomMetric, ModelKind
from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField
from modelward.kinds import is_time, kind_of
from modelward.lifecycle import VersionRef
from modelward.shared.row_ids import id_texts
from modelward_server.comparison.scoring import count_missing
from modelward_server.sandbox.sandbox import MAX_PREDICTION, Run
from modelward_server.statistics.trading import Floats

PREDICTION, PROBABILITY, POSITION, RETURN = "prediction", "probability", "position", "return"
CUSTOM = ("loss:", "gain:", "time_loss:", "time_gain:")
"""The prefixes of the names of columns with metrics of the user's own."""
BY_CLASS = f"{PROBABILITY}:"
"""The prefix of the names of columns with the probability of one class."""


@dataclass(frozen=True)
class SentPredictions:
    """The predictions of one version, one per row."""

    run: Run
    positions: Floats | None = None
    """Its positions, shape (rows,); None if it sent none."""
    returns: Floats | None = None
    """Its own returns of a position of 1, as fractions, shape (rows,); None if it sent none."""
    custom: Mapping[CustomMetric, Floats] = field(default_factory=dict)
    """The values of the metrics of the user's own, each of shape (rows,)."""


@dataclass(frozen=True)
class AlignedTables:
    """The rows that the test data and all predictions have in common, in the order of the test data."""

    columns: Columns
    """The test data without its ids."""
    predictions: Mapping[VersionRef, Columns]
    left_out: int
    """The number of rows of the test data that lack a prediction of some version."""


def align(data: Columns, predictions: Mapping[VersionRef, Columns], name: str) -> AlignedTables:
    """Join tables by the ids of their rows.

    Args:
        data: the test data.
        predictions: the predictions of each version.
        name: the column of ids in every table.

    Raises:
        InvalidField: a table has no ids or a repeated one, or no row is in all tables.
    """
    fields = {version: f"predictions[{number}].data" for number, version in enumerate(predictions)}
    ids = _ids(data, name, "data")
    positions = {version: _positions(_ids(table, name, fields[version])) for version, table in predictions.items()}
    shared = reduce(lambda kept, known: kept & known.keys(), positions.values(), set(ids))
    rows = np.array([row for row, key in enumerate(ids) if key in shared], np.int64)
    if not len(rows):
        raise InvalidField(
            FieldViolation("predictions", f"have no {name} in common with the data; send the ids of its rows")
        )
    found = {
        version: _select_rows(table, np.array([positions[version][ids[row]] for row in rows]), name)
        for version, table in predictions.items()
    }
    return AlignedTables(_select_rows(data, rows, name), found, len(ids) - len(rows))


def read_predictions(table: Columns, truth: NDArray[Any], field: str) -> SentPredictions:
    """Read one version's predictions: text, booleans and integers are classes, other numbers are numeric predictions.

    Args:
        table: the predictions, aligned with the labels.
        truth: the labels, shape (rows,).
        field: the path of the table in the request, for errors.

    Raises:
        InvalidField: a column is missing or contains invalid predictions.
    """
    if PREDICTION not in table:
        raise InvalidField(FieldViolation(field, f"has no column {PREDICTION!r}; it has {', '.join(sorted(table))}"))
    if is_time(table[PREDICTION]):
        fix = "holds times; send numbers, text or truth values"
        raise InvalidField(FieldViolation(f"{field}[{PREDICTION!r}]", fix))
    predicted, has_probabilities = table[PREDICTION], any(name.startswith(PROBABILITY) for name in table)
    positions, returns = (
        _finite(table[name], f"{field}[{name!r}]") if name in table else None for name in (POSITION, RETURN)
    )
    custom = {metric: _finite(table[metric], f"{field}[{metric!r}]") for metric in _custom_metrics(table, field)}
    if predicted.dtype == np.float64 and not has_probabilities:
        numbers = _finite(predicted, f"{field}[{PREDICTION!r}]")
        return SentPredictions(Run(ModelKind.REGRESSION, (), numbers, None, None), positions, returns, custom)
    return SentPredictions(_classes(table, predicted, truth, field), positions, returns, custom)


def _custom_metrics(table: Columns, field: str) -> list[CustomMetric]:
    try:
        return [CustomMetric(name) for name in table if name.startswith(CUSTOM)]
    except ValueError as error:
        raise InvalidField(FieldViolation(field, f"has a column whose name {error}")) from None


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
        return replace(run, probabilities=_class_probabilities(table, named, classes, field))
    return replace(run, probabilities=_binary_probabilities(table, classes, field)) if PROBABILITY in table else run


def _labels(values: NDArray[Any]) -> list[Any]:
    """Return classes; integers that were sent as floats become integers."""
    if values.dtype == np.float64 and np.array_equal(values, np.round(values)):
        return [int(value) for value in values]
    found: list[Any] = values.tolist()
    return found


def _class_probabilities(table: Columns, named: Mapping[str, str], classes: tuple[Any, ...], field: str) -> Floats:
    absent = np.zeros(len(table[PREDICTION]))
    columns = [
        _probabilities(table[named[str(value)]], f"{field}[{named[str(value)]!r}]") if str(value) in named else absent
        for value in classes
    ]
    found = np.column_stack(columns)
    if not (np.abs(found.sum(axis=1) - 1) < 1e-3).all():
        raise InvalidField(FieldViolation(field, "has probabilities that do not add up to 1 in every row"))
    return found


def _binary_probabilities(table: Columns, classes: tuple[Any, ...], field: str) -> Floats:
    if len(classes) != 2:
        fix = f"requires two classes, but there are {len(classes)}; send a column for each, such as '{BY_CLASS}up'"
        raise InvalidField(FieldViolation(f"{field}[{PROBABILITY!r}]", fix))
    greater = _probabilities(table[PROBABILITY], f"{field}[{PROBABILITY!r}]")
    return np.column_stack([1 - greater, greater])


def _probabilities(values: NDArray[Any], field: str) -> Floats:
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
        raise InvalidField(FieldViolation(f"{field}[{name!r}]", "contains an id twice; each row needs a unique id"))
    return found


def _positions(ids: list[str]) -> dict[str, int]:
    return {key: place for place, key in enumerate(ids)}


def _select_rows(table: Columns, rows: NDArray[np.int64], name: str) -> Columns:
    return {column: values[rows] for column, values in table.items() if column != name}

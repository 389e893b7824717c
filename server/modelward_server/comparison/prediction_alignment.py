"""Read and validate predictions that were computed elsewhere, and align them with the labels by row id."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import CustomMetric, ModelKind
from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField
from modelward.kinds import is_time, kind_of, missing_in
from modelward.lifecycle import VersionRef
from modelward.shared.row_ids import MAX_EXACT_FLOAT, id_texts
from modelward_server.comparison.scoring import count_excessive
from modelward_server.sandbox.sandbox import MAX_PREDICTION, Run
from modelward_server.statistics.trading import Floats
from modelward_server.storage.columns import select_rows, without

PREDICTION, PROBABILITY, POSITION, RETURN = "prediction", "probability", "position", "return"
Ints = NDArray[np.int64]
CUSTOM = ("loss:", "gain:", "time_loss:", "time_gain:")
"""The prefixes of the names of columns with metrics of the user's own."""
BY_CLASS = f"{PROBABILITY}:"
"""The prefix of the names of columns with the probability of one class."""


@dataclass(frozen=True)
class Answers:
    """The predictions of one version for the rows that it answered."""

    run: Run
    rows: Ints
    """The numbers of these rows of the test data, ascending."""
    positions: Floats | None = None
    """Its positions, shape (rows,); None if it sent none."""
    returns: Floats | None = None
    """Its own returns of a position of 1, as fractions, shape (rows,); None if it sent none."""
    custom: Mapping[CustomMetric, Floats] = field(default_factory=dict)
    """The values of the metrics of the user's own, each of shape (rows,)."""

    def on(self, rows: Ints) -> "Answers":
        """Return the predictions of some of the rows that it answered."""
        places = np.searchsorted(self.rows, rows)
        positions, returns = (None if one is None else one[places] for one in (self.positions, self.returns))
        custom = {metric: values[places] for metric, values in self.custom.items()}
        return Answers(self.run.in_order(places), rows, positions, returns, custom)


@dataclass(frozen=True)
class MatchedTable:
    """The predictions of one version whose ids are among those of the test data, in the order of the test data."""

    columns: Columns
    """Without the ids."""
    rows: Ints
    """The numbers of the rows of the test data, ascending."""


def match_ids(data: Columns, predictions: Mapping[VersionRef, Columns], name: str) -> dict[VersionRef, MatchedTable]:
    """Find the rows of predictions in the test data by their ids.

    Args:
        data: the test data.
        predictions: the predictions of each version.
        name: the column of ids in every table.

    Raises:
        InvalidField: a table has no ids or a repeated one, or no id of any predictions is in the test data.
    """
    fields = {version: f"predictions[{number}].data" for number, version in enumerate(predictions)}
    ids = _ids(data, name, "data")
    positions = {version: _positions(_ids(table, name, fields[version])) for version, table in predictions.items()}
    rows = {version: _rows_among(ids, known) for version, known in positions.items()}
    if not any(map(len, rows.values())):
        raise InvalidField(
            FieldViolation("predictions", f"have no {name} in common with the data; send the ids of its rows")
        )
    places = {version: [known[ids[row]] for row in rows[version]] for version, known in positions.items()}
    return {
        version: MatchedTable(select_rows(without(table, {name}), np.array(places[version], np.int64)), rows[version])
        for version, table in predictions.items()
    }


def _rows_among(ids: list[str], known: Mapping[str, int]) -> Ints:
    return np.array([row for row, key in enumerate(ids) if key in known], np.int64)


def read_answers(table: MatchedTable, truth: NDArray[Any], field: str) -> Answers:
    """Read one version's predictions, without rows in which one of the columns that are read is missing.

    Args:
        table: the predictions.
        truth: the labels of the test data, shape (rows,).
        field: the path of the table in the request, for errors.

    Raises:
        InvalidField: a column is missing or contains invalid predictions.
    """
    missing = np.zeros(len(table.rows), bool)
    for name, values in table.columns.items():
        if name in {PREDICTION, POSITION, RETURN} or name.startswith((PROBABILITY, *CUSTOM)):
            missing |= missing_in(values)
    rows, columns = table.rows[~missing], select_rows(table.columns, ~missing)
    labels = truth[rows]
    labels = labels[~missing_in(labels)]
    if missing.any() and PREDICTION in columns and not _holds_fractions(labels):
        columns[PREDICTION] = _as_classes(columns[PREDICTION])
    run = _read_run(columns, labels, field)
    positions, returns = (
        _finite(columns[name], f"{field}[{name!r}]") if name in columns else None for name in (POSITION, RETURN)
    )
    custom = {metric: _finite(columns[metric], f"{field}[{metric!r}]") for metric in _custom_metrics(columns, field)}
    return Answers(run, rows, positions, returns, custom)


def _as_classes(values: NDArray[Any]) -> NDArray[Any]:
    """Return classes that came as floats only because some were missing as integers."""
    return values.astype(np.int64) if values.dtype == np.float64 and not _holds_fractions(values) else values


def _holds_fractions(values: NDArray[Any]) -> bool:
    """Return whether values are floats that are not all integers which floats represent exactly."""
    exact = np.abs(values) < MAX_EXACT_FLOAT if values.dtype == np.float64 else None
    return exact is not None and not (exact & (values == np.round(values))).all()


def _read_run(table: Columns, truth: NDArray[Any], field: str) -> Run:
    """Read predictions: text, booleans and integers are classes, other numbers are numeric predictions."""
    if PREDICTION not in table:
        raise InvalidField(FieldViolation(field, f"has no column {PREDICTION!r}; it has {', '.join(sorted(table))}"))
    if is_time(table[PREDICTION]):
        fix = "holds times; send numbers, text or truth values"
        raise InvalidField(FieldViolation(f"{field}[{PREDICTION!r}]", fix))
    predicted, has_probabilities = table[PREDICTION], any(name.startswith(PROBABILITY) for name in table)
    if predicted.dtype == np.float64 and not has_probabilities:
        numbers = _finite(predicted, f"{field}[{PREDICTION!r}]")
        return Run(ModelKind.REGRESSION, (), numbers, None, None)
    return _classes(table, predicted, truth, field)


def _custom_metrics(table: Columns, field: str) -> list[CustomMetric]:
    try:
        return [CustomMetric(name) for name in table if name.startswith(CUSTOM)]
    except ValueError as error:
        raise InvalidField(FieldViolation(field, f"has a column whose name {error}")) from None


def _classes(table: Columns, predicted: NDArray[Any], truth: NDArray[Any], field: str) -> Run:
    if predicted.dtype != object and count_excessive(predicted):
        raise InvalidField(FieldViolation(f"{field}[{PREDICTION!r}]", "holds infinity; leave those rows out"))
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
        fix = f"holds infinity or more than {MAX_PREDICTION:g}; leave those rows out"
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

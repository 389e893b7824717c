"""Score the answers of models against the labels, and choose the metrics to compute."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import AnyMetric, CustomMetric, Metric, ModelKind
from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField
from modelward.kinds import is_time, missing_in
from modelward.lifecycle import VersionRef
from modelward_server.sandbox.sandbox import MAX_PREDICTION, Run
from modelward_server.statistics.metric_applicability import (
    ON_REQUEST_METRICS,
    PANEL_METRICS,
    TRADING_METRICS,
    applies_to,
    inapplicable_reason,
    unsuitable_reason,
)
from modelward_server.statistics.metrics import Scored
from modelward_server.statistics.rounding import equalize, equalize_sizes

MAX_CLASSES = 100
"""Maximum number of classes: a label with more distinct values is a number, not a class."""


def split_column(columns: Columns, name: str, field: str) -> tuple[NDArray[Any], Columns]:
    """Split one column from a table, and return it and the other columns.

    Args:
        columns: the table.
        name: the name of the column.
        field: the field of the request that names the column.

    Raises:
        InvalidField: the column does not exist, has no value, or has one that is not finite. Missing values remain.
    """
    if name not in columns:
        raise InvalidField(FieldViolation(field, f"{name!r} is not a column; there are {_first_few(columns)}"))
    column, others = columns[name], {other: values for other, values in columns.items() if other != name}
    if is_time(column):
        raise InvalidField(FieldViolation(f"data[{name!r}]", "holds times; send numbers, text or truth values"))
    missing = missing_in(column)
    if missing.all():
        raise InvalidField(FieldViolation(f"data[{name!r}]", f"is missing in all of {len(column):,} rows; send some"))
    excessive = 0 if column.dtype == object else count_excessive(column[~missing])
    if excessive:
        fix = f"is infinite or beyond {MAX_PREDICTION:g} in {excessive:,} of {len(column):,} rows; leave those out"
        raise InvalidField(FieldViolation(f"data[{name!r}]", fix))
    return column, others


def split_named(columns: Columns, name: str, field: str) -> tuple[NDArray[Any] | None, Columns]:
    """Split one column from a table as `split_column` does; None if the name is empty."""
    return split_column(columns, name, field) if name else (None, columns)


def numbers_of(column: NDArray[Any], field: str, expected: str) -> NDArray[np.float64]:
    """Return a column of the compared rows as numbers.

    Args:
        column: the values, shape (rows,).
        field: the field of the request that names the column.
        expected: what its values are, for errors.

    Raises:
        InvalidField: it has text, or missing values.
    """
    missing = missing_in(column)
    if missing.any():
        fix = f"names a column that is missing in {missing.sum():,} of the {len(column):,} rows compared; {expected}"
        raise InvalidField(FieldViolation(field, fix))
    if column.dtype == object:
        raise InvalidField(FieldViolation(field, f"names a column of text; {expected}"))
    return column.astype(np.float64)


def score_runs(runs: Mapping[VersionRef, Run], truth: NDArray[Any]) -> dict[VersionRef, Scored]:
    """Combine the answers of several models with the labels, with their classes in one common order.

    Args:
        runs: the answers of each version.
        truth: the labels, shape (rows,).

    Raises:
        InvalidField: some predict classes and others numbers, or the label is of another kind than they predict.
    """
    kinds = {run.kind: version for version, run in runs.items()}
    if len(kinds) > 1:
        classifier, regressor = kinds[ModelKind.CLASSIFICATION], kinds[ModelKind.REGRESSION]
        fix = f"{classifier} predicts classes and {regressor} numbers; compare like with like"
        raise InvalidField(FieldViolation("versions", fix))
    if ModelKind.REGRESSION in kinds:
        return _score_numbers(runs, truth)
    return _score_classes(runs, truth)


class ChosenMetrics(NamedTuple):
    """The metrics of a comparison."""

    metrics: list[AnyMetric]
    """Those that at least one version defines."""
    primary: AnyMetric
    notes: list[str]
    """Why metrics were left out."""
    undefined: dict[tuple[int, AnyMetric], str]
    """Why a version, by its place, has no value of one of the metrics."""


def choose_metrics(
    requested: Sequence[AnyMetric], primary: AnyMetric | None, scored: Sequence[Scored], baseline: int = 0
) -> ChosenMetrics:
    """Return the metrics to compute, the primary metric, and notes on metrics that had to be left out.

    A metric that some versions do not define, such as the Sharpe ratio of one that never trades, is computed for the
    others.

    Args:
        requested: the requested metrics; empty for all that apply.
        primary: None for the first of `requested` that the baseline and another version define, or accuracy for classes
            and MSE for numbers.
        scored: the predictions of all versions.
        baseline: the place of the baseline among them.

    Raises:
        InvalidField: a requested metric does not apply to these models, or none of them, or not the primary one, is
            defined on these rows.
    """
    for number, metric in enumerate(requested):
        _refuse(f"metrics[{number}]", metric, _first(unsuitable_reason, metric, scored))
    reasons = _Reasons(scored, baseline)
    if primary is not None:
        _refuse("primary_metric", primary, reasons.undecidable(primary))
    asked = requested or _applicable(scored)
    chosen = [metric for metric in asked if not reasons.omitted(metric)]
    notes = [f"{metric} is omitted: it {why}" for metric in asked if (why := reasons.omitted(metric))]
    deciding = [metric for metric in chosen if not reasons.undecidable(metric)]
    if not deciding and primary is None:
        lacking = [f"{metric} {why}" for metric in asked if (why := reasons.undecidable(metric))]
        raise InvalidField(
            FieldViolation("metrics", f"has none that the baseline and another version define; {'; '.join(lacking)}")
        )
    decides = primary or deciding[0]  # In the order of their definition, accuracy and MSE come first and always work.
    if requested and primary is None and decides != requested[0]:
        why = "is omitted" if requested[0] not in chosen else "is not defined for the baseline and another version"
        notes.append(f"the primary metric is {decides}, because {requested[0]} {why}")
    metrics = chosen if decides in chosen else [decides, *chosen]
    return ChosenMetrics(metrics, decides, notes, reasons.undefined(metrics))


def _applicable(scored: Sequence[Scored]) -> list[AnyMetric]:
    has_returns = all(one.trading_returns for one in scored)
    has_groups = all(one.panel and one.panel.groups is not None for one in scored)
    applicable: list[AnyMetric] = [
        metric
        for metric in Metric
        if metric not in ON_REQUEST_METRICS
        and applies_to(metric, classes=bool(scored[0].classes))
        and (has_returns or metric not in TRADING_METRICS)
        and (has_groups or metric not in PANEL_METRICS)
    ]
    return applicable + [CustomMetric(name) for name in dict.fromkeys(name for one in scored for name in one.custom)]


class _Reasons:
    """Why metrics cannot be computed: for some version, or for all."""

    def __init__(self, scored: Sequence[Scored], baseline: int) -> None:
        self._scored, self._baseline = scored, baseline
        self._known: dict[AnyMetric, list[str]] = {}

    def omitted(self, metric: AnyMetric) -> str:
        """Return why a metric is left out: it does not apply to some version, or is undefined for all."""
        whys = self._of(metric)
        return _first(unsuitable_reason, metric, self._scored) or (whys[0] if all(whys) else "")

    def undecidable(self, metric: AnyMetric) -> str:
        """Return why a metric cannot be the primary one: the baseline lacks it, or all others do."""
        whys = self._of(metric)
        others = [why for place, why in enumerate(whys) if place != self._baseline]
        return self.omitted(metric) or whys[self._baseline] or (others[0] if all(others) else "")

    def undefined(self, metrics: Sequence[AnyMetric]) -> dict[tuple[int, AnyMetric], str]:
        pairs = ((place, metric, why) for metric in metrics for place, why in enumerate(self._of(metric)))
        return {(place, metric): why for place, metric, why in pairs if why}

    def _of(self, metric: AnyMetric) -> list[str]:
        if metric not in self._known:
            self._known[metric] = [inapplicable_reason(metric, one) for one in self._scored]
        return self._known[metric]


def _score_numbers(runs: Mapping[VersionRef, Run], truth: NDArray[Any]) -> dict[VersionRef, Scored]:
    if truth.dtype == object:
        raise InvalidField(FieldViolation("label", "holds text, but the models predict numbers"))
    numbers, predicted = truth.astype(np.float64), np.array([run.predicted for run in runs.values()])
    errors = numbers - predicted
    # Equal models, and errors of equal size and opposite sign, differ in their last digits, which does not count.
    errors = equalize_sizes(errors, numbers, predicted)
    return {
        version: Scored(numbers, run.predicted, errors=missed)
        for (version, run), missed in zip(runs.items(), errors, strict=True)
    }


def _score_classes(runs: Mapping[VersionRef, Run], truth: NDArray[Any]) -> dict[VersionRef, Scored]:
    present = set(truth.tolist())
    for version, run in runs.items():
        if not present & set(run.classes):
            fix = f"holds {_first_few(present)}, none of which is a class of {version}: {_first_few(run.classes)}"
            raise InvalidField(FieldViolation("label", fix))
    classes = sorted(present.union(*(run.classes for run in runs.values())))
    if len(classes) > MAX_CLASSES:
        raise InvalidField(FieldViolation("label", f"holds {len(classes):,} classes; {MAX_CLASSES} are the most"))
    place = {value: number for number, value in enumerate(classes)}
    positions = np.array([place[value] for value in truth.tolist()], np.int64)
    return _without_rounding({version: _in_order(run, positions, classes, place) for version, run in runs.items()})


def _without_rounding(scored: Mapping[VersionRef, Scored]) -> dict[VersionRef, Scored]:
    """Make probabilities equal across versions that differ only by rounding errors."""
    given = {version: one.probabilities for version, one in scored.items() if one.probabilities is not None}
    if not given:
        return dict(scored)
    flat = equalize(np.array([probabilities.ravel() for probabilities in given.values()]))
    same = {version: row.reshape(given[version].shape) for version, row in zip(given, flat, strict=True)}
    return {version: replace(one, probabilities=same.get(version)) for version, one in scored.items()}


def _in_order(run: Run, truth: NDArray[np.int64], classes: Sequence[Any], place: Mapping[Any, int]) -> Scored:
    """Renumber a model's classes to the common order; classes that it does not know have probability 0."""
    moved = np.array([place[value] for value in run.classes], np.int64)
    probabilities = None
    if run.probabilities is not None:
        probabilities = np.zeros((len(truth), len(classes)))
        probabilities[:, moved] = run.probabilities
    predicted, why = moved[run.predicted], run.no_probabilities
    return Scored(truth, predicted, tuple(classes), probabilities, no_probabilities=why)


def _refuse(field: str, metric: AnyMetric, why: str) -> None:
    if why:
        raise InvalidField(FieldViolation(field, f"{metric} {why}"))


def _first(ask: Callable[[AnyMetric, Scored], str], metric: AnyMetric, scored: Sequence[Scored]) -> str:
    """Return why a metric cannot be computed for some model; empty if it can for all."""
    return next((why for one in scored if (why := ask(metric, one))), "")


def count_excessive(values: NDArray[Any]) -> int:
    """Return how many numbers are NaN, infinite or too large."""
    return int(np.count_nonzero(~(np.abs(values.astype(np.float64)) < MAX_PREDICTION)))


def _first_few(values: Any) -> str:
    """Format the first ten of many values."""
    named = sorted(map(repr, values))
    return ", ".join(named[:10]) + (", ..." if len(named) > 10 else "")

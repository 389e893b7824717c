"""From what models answered and what was true to what can be measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import Metric, ModelKind
from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField
from modelward.kinds import is_time
from modelward.lifecycle import VersionRef
from modelward_server.sandbox.sandbox import MAX_PREDICTION, Run
from modelward_server.statistics.metric_applicability import (
    TRADING_METRICS,
    applies_to,
    inapplicable_reason,
    unsuitable_reason,
)
from modelward_server.statistics.metrics import Scored
from modelward_server.statistics.rounding import equalize, size_of

MOST_CLASSES = 100
"""With more, it is a number that the label holds, and no class."""


def split_column(columns: Columns, name: str, field: str) -> tuple[NDArray[Any], Columns]:
    """Take a column out of a table and return it with the others.

    Args:
        field: of the request, that names the column.

    Raises:
        InvalidField: it is not there, is missing in some row, or is not finite.
    """
    if name not in columns:
        raise InvalidField(FieldViolation(field, f"{name!r} is not a column; there are {_some(columns)}"))
    taken, others = columns[name], {other: values for other, values in columns.items() if other != name}
    if is_time(taken):
        raise InvalidField(FieldViolation(f"data[{name!r}]", "holds times; send numbers, text or truth values"))
    missing = count_missing(taken)
    if missing:
        fix = (
            f"is missing, infinite or beyond {MAX_PREDICTION:g} in {missing:,} of {len(taken):,} rows; leave those out"
        )
        raise InvalidField(FieldViolation(f"data[{name!r}]", fix))
    return taken, others


def score_runs(runs: Mapping[VersionRef, Run], truth: NDArray[Any]) -> dict[VersionRef, Scored]:
    """Set the answers of several models beside the truth, with their classes in one common order.

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


def choose_metrics(
    asked: Sequence[Metric], primary: Metric | None, scored: Sequence[Scored]
) -> tuple[list[Metric], Metric, list[str]]:
    """Return what to measure, what decides, and notes on what had to be left out.

    Args:
        asked: empty for all that make sense.
        primary: None for the first of `asked` that the rows define, or accuracy for classes and MSE for numbers.

    Raises:
        InvalidField: a metric that was asked for makes no sense for these models, or the rows define none of them or
            not the one that decides.
    """
    for number, metric in enumerate(asked):
        _refuse(f"metrics[{number}]", metric, _first(unsuitable_reason, metric, scored))
    if primary is not None:
        _refuse("primary_metric", primary, _first(inapplicable_reason, primary, scored))
    traded = all(one.trading_returns for one in scored)
    suiting = [
        metric
        for metric in Metric
        if applies_to(metric, classes=bool(scored[0].classes)) and (traded or metric not in TRADING_METRICS)
    ]
    reasons = {metric: _first(inapplicable_reason, metric, scored) for metric in asked or suiting}
    chosen = [metric for metric, why in reasons.items() if not why]
    notes = [f"{metric} is omitted: it {why}" for metric, why in reasons.items() if why]
    if not chosen and primary is None:
        raise InvalidField(FieldViolation("metrics", f"has none that these rows define; {'; '.join(notes)}"))
    decides = primary or chosen[0]  # In the order of their definition, accuracy and MSE come first and always work.
    if asked and primary is None and decides is not asked[0]:
        notes.append(f"the primary metric is {decides}, because {asked[0]} is omitted")
    return (chosen if decides in chosen else [decides, *chosen]), decides, notes


def _score_numbers(runs: Mapping[VersionRef, Run], truth: NDArray[Any]) -> dict[VersionRef, Scored]:
    if truth.dtype == object:
        raise InvalidField(FieldViolation("label", "holds text, but the models predict numbers"))
    numbers, predicted = truth.astype(np.float64), np.array([run.predicted for run in runs.values()])
    errors = numbers - predicted
    # Twins, and errors of the same size to either side, differ in their last digits: that is no difference.
    errors = np.copysign(equalize(np.abs(errors), size_of(numbers, predicted)), errors)
    return {
        version: Scored(numbers, run.predicted, errors=missed)
        for (version, run), missed in zip(runs.items(), errors, strict=True)
    }


def _score_classes(runs: Mapping[VersionRef, Run], truth: NDArray[Any]) -> dict[VersionRef, Scored]:
    present = set(truth.tolist())
    for version, run in runs.items():
        if not present & set(run.classes):
            fix = f"holds {_some(present)}, none of which is a class of {version}: {_some(run.classes)}"
            raise InvalidField(FieldViolation("label", fix))
    classes = sorted(present.union(*(run.classes for run in runs.values())))
    if len(classes) > MOST_CLASSES:
        raise InvalidField(FieldViolation("label", f"holds {len(classes):,} classes; {MOST_CLASSES} are the most"))
    place = {value: number for number, value in enumerate(classes)}
    positions = np.array([place[value] for value in truth.tolist()], np.int64)
    return _without_rounding({version: _in_order(run, positions, classes, place) for version, run in runs.items()})


def _without_rounding(scored: Mapping[VersionRef, Scored]) -> dict[VersionRef, Scored]:
    """Make probabilities that differ by rounding alone the same for all versions."""
    given = {version: one.probabilities for version, one in scored.items() if one.probabilities is not None}
    if not given:
        return dict(scored)
    flat = equalize(np.array([probabilities.ravel() for probabilities in given.values()]))
    same = {version: row.reshape(given[version].shape) for version, row in zip(given, flat, strict=True)}
    return {version: replace(one, probabilities=same.get(version)) for version, one in scored.items()}


def _in_order(run: Run, truth: NDArray[np.int64], classes: Sequence[Any], place: Mapping[Any, int]) -> Scored:
    """Move a model's classes to their common places; a class that it does not know has no probability."""
    moved = np.array([place[value] for value in run.classes], np.int64)
    probabilities = None
    if run.probabilities is not None:
        probabilities = np.zeros((len(truth), len(classes)))
        probabilities[:, moved] = run.probabilities
    predicted, why = moved[run.predicted], run.no_probabilities
    return Scored(truth, predicted, tuple(classes), probabilities, no_probabilities=why)


def _refuse(field: str, metric: Metric, why: str) -> None:
    if why:
        raise InvalidField(FieldViolation(field, f"{metric} {why}"))


def _first(ask: Callable[[Metric, Scored], str], metric: Metric, scored: Sequence[Scored]) -> str:
    """Return why some model has no such metric; empty when all have."""
    return next((why for one in scored if (why := ask(metric, one))), "")


def count_missing(truth: NDArray[Any]) -> int:
    if truth.dtype == object:
        return sum(value is None for value in truth)
    return int(np.count_nonzero(~(np.abs(truth.astype(np.float64)) < MAX_PREDICTION)))


def _some(values: Any) -> str:
    """Name the first few of many values."""
    named = sorted(map(repr, values))
    return ", ".join(named[:10]) + (", ..." if len(named) > 10 else "")

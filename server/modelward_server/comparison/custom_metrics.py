"""Add what users send beside the predictions to the scored rows: weights of rows, and metrics of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import CustomMetric
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import VersionRef
from modelward_server.comparison.prediction_alignment import Answers
from modelward_server.comparison.scoring import numbers_of
from modelward_server.statistics.metrics import CustomColumn, Floats, Scored, of_times
from modelward_server.statistics.panel import Panel
from modelward_server.statistics.rounding import equalize_sizes


def add_sample_weights(scored: Mapping[VersionRef, Scored], weights: NDArray[Any] | None) -> dict[VersionRef, Scored]:
    """Add the weights of rows, shape (rows,); None for none.

    Raises:
        InvalidField: they are text, missing, negative or all 0.
    """
    if weights is None:
        return dict(scored)
    numbers = numbers_of(weights, "sample_weights", "weights are numbers")
    if numbers.min() < 0 or numbers.max() == 0:
        which = "is negative in some row" if numbers.min() < 0 else "is 0 in every row"
        raise InvalidField(FieldViolation("sample_weights", f"{which}; weights are at least 0, and some are above"))
    return {version: replace(one, sample_weights=numbers) for version, one in scored.items()}


def add_custom_metrics(
    scored: Mapping[VersionRef, Scored], answers: Mapping[VersionRef, Answers], tables: Sequence[VersionRef]
) -> dict[VersionRef, Scored]:
    """Add the metrics of the user's own, with values made equal that differ only by rounding errors.

    Args:
        scored: the predictions of each version.
        answers: the same, with the values that were sent.
        tables: whose predictions were sent, in the order of their tables in the request.

    Raises:
        InvalidField: a metric of the times has different values in rows of one time.
    """
    columns: dict[VersionRef, dict[str, CustomColumn]] = {version: {} for version in scored}
    for metric in dict.fromkeys(metric for one in answers.values() for metric in one.custom):
        having = [version for version in scored if metric in answers[version].custom]
        values = np.array([answers[version].custom[metric] for version in having])
        for version, column in zip(having, equalize_sizes(values, values), strict=True):
            if metric.by_time:
                _check_times(column, scored[version].panel, tables.index(version), metric)
            columns[version][metric] = CustomColumn(column, metric.by_time, metric.lower_is_better)
    return {version: replace(one, custom=columns[version]) for version, one in scored.items()}


def _check_times(values: Floats, panel: Panel | None, number: int, metric: CustomMetric) -> None:
    if panel is not None and (values != np.repeat(of_times(values, panel), panel.counts)).any():
        fix = f"has different values in rows of one time; send one for each time, or {metric.removeprefix('time_')!r}"
        raise InvalidField(FieldViolation(f"predictions[{number}].data[{str(metric)!r}]", fix))

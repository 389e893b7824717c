"""Add what users send beside the predictions to the scored rows: weights of rows, and metrics of their own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import CustomMetric
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import VersionRef
from modelward_server.comparison.prediction_alignment import SentPredictions
from modelward_server.statistics.metrics import CustomColumn, Floats, Scored, of_times
from modelward_server.statistics.panel import Panel
from modelward_server.statistics.rounding import equalize, size_of


def add_sample_weights(scored: Mapping[VersionRef, Scored], weights: NDArray[Any] | None) -> dict[VersionRef, Scored]:
    """Add the weights of rows, shape (rows,); None for none.

    Raises:
        InvalidField: they are text, negative or all 0.
    """
    if weights is None:
        return dict(scored)
    if weights.dtype == object:
        raise InvalidField(FieldViolation("sample_weights", "names a column of text; weights are numbers"))
    numbers = weights.astype(np.float64)
    if numbers.min() < 0 or numbers.max() == 0:
        which = "is negative in some row" if numbers.min() < 0 else "is 0 in every row"
        raise InvalidField(FieldViolation("sample_weights", f"{which}; weights are at least 0, and some are above"))
    return {version: replace(one, sample_weights=numbers) for version, one in scored.items()}


def add_custom_metrics(
    scored: Mapping[VersionRef, Scored], sent: Mapping[VersionRef, SentPredictions]
) -> dict[VersionRef, Scored]:
    """Add the metrics of the user's own, with values made equal that differ only by rounding errors.

    Raises:
        InvalidField: a metric of the times has different values in rows of one time.
    """
    columns: dict[VersionRef, dict[str, CustomColumn]] = {version: {} for version in scored}
    for metric in dict.fromkeys(metric for one in sent.values() for metric in one.custom):
        having = [version for version in scored if version in sent and metric in sent[version].custom]
        values = np.array([sent[version].custom[metric] for version in having])
        even = np.copysign(equalize(np.abs(values), size_of(values)), values)
        for version, column in zip(having, even, strict=True):
            if metric.by_time:
                _check_times(column, scored[version].panel, list(sent).index(version), metric)
            columns[version][metric] = CustomColumn(column, metric.by_time, metric.lower_is_better)
    return {version: replace(one, custom=columns[version]) for version, one in scored.items()}


def _check_times(values: Floats, panel: Panel | None, number: int, metric: CustomMetric) -> None:
    if panel is not None and (values != np.repeat(of_times(values, panel), panel.counts)).any():
        fix = f"has different values in rows of one time; send one for each time, or {metric.removeprefix('time_')!r}"
        raise InvalidField(FieldViolation(f"predictions[{number}].data[{str(metric)!r}]", fix))

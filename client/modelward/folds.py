"""Fold tables of several versions, side by side."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from modelward._record import Record, TableRecord, counted, quoted, sentence
from modelward.backtest import ValidationFold
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import ModelVersion, VersionRef
from modelward.shared.figures import difference, metric

NO_WINDOW = ("", "")
TOLERANCE = 1e-12
"""Numbers that differ by less, relative to the largest, differ by rounding alone."""


@dataclass(frozen=True, repr=False)
class FoldRow(Record):
    """One metric of one fold, of each version that has it."""

    fold: str
    """The name of the fold."""
    test_from: str
    """The first time of its test; empty if no version recorded it."""
    test_until: str
    """The last time of its test."""
    metric: str
    """The metric."""
    values: Mapping[str, float]
    """Its value by version, such as `spx-trend/3`, of the versions that have it."""


@dataclass(frozen=True, repr=False)
class FoldSummary(Record):
    """One metric of one version over its folds, and its difference from the baseline over the folds that both have."""

    version: VersionRef
    """The version."""
    metric: str
    """The metric."""
    folds: int
    """Number of its folds with the metric."""
    mean: float
    """The mean over them."""
    deviation: float | None
    """The standard deviation over them (with n - 1); None for one fold."""
    paired_folds: int = 0
    """Number of folds that the baseline has too; 0 for the baseline itself."""
    difference: float | None = None
    """The mean over these of the version's value minus the baseline's; None without any."""
    difference_deviation: float | None = None
    """The standard deviation of the differences; None for fewer than two."""

    def _describe(self) -> str:
        paired = counted(self.paired_folds, "common fold")
        less = "" if self.difference is None else f"{difference(self.difference)} from the baseline over {paired}"
        return sentence(
            f"{quoted(self.version)}: {self.metric} {metric(self.mean)} of {counted(self.folds, 'fold')}", less
        )


@dataclass(frozen=True, repr=False)
class FoldComparison(TableRecord):
    """The fold tables of several versions, side by side."""

    versions: tuple[VersionRef, ...]
    """The versions."""
    baseline: VersionRef
    """The version from which the differences are."""
    rows: tuple[FoldRow, ...]
    """The folds, in the order in which the versions have them, each with its metrics by name."""
    summaries: tuple[FoldSummary, ...]
    """Each metric by name, of each version that has it."""

    def summary(self, version: VersionRef | str, metric: str) -> FoldSummary:
        """Return one metric of one version over its folds.

        Args:
            version: the version, as `"spx-trend/3"` or a reference.
            metric: the metric.

        Returns:
            The metric's mean, deviation and difference from the baseline.

        Raises:
            KeyError: the version has no fold with the metric.
        """
        for one in self.summaries:
            if (str(one.version), one.metric) == (str(version), metric):
                return one
        raise KeyError((str(version), metric))

    def _describe(self) -> str:
        names = ", ".join(map(str, self.versions))
        return sentence(names, counted(len({(one.fold, one.test_from) for one in self.rows}), "fold"))

    def _rows(self) -> Sequence[Mapping[str, object]]:
        """Return one row for each fold and metric, with a column for each version."""
        names = list(map(str, self.versions))
        return [
            {
                "fold": one.fold,
                "test_from": one.test_from,
                "test_until": one.test_until,
                "metric": one.metric,
                **{name: one.values.get(name) for name in names},
            }
            for one in self.rows
        ]


def tabulate_folds(versions: Sequence[ModelVersion], baseline: VersionRef | None = None) -> FoldComparison:
    """Set the fold tables of versions side by side.

    Folds of two versions are the same if they have the same name and, where both recorded one, the same test window.

    Args:
        versions: the versions, each once.
        baseline: one of them; the first by default.

    Returns:
        The folds, and each metric's mean, standard deviation and paired difference from the baseline. There is no
        p-value: folds share training rows, so their results are not independent.
    """
    rows = tuple(_rows(versions))
    first = baseline or versions[0].ref
    keys = sorted({row.metric for row in rows})
    summaries = (_summary(version.ref, first, key, rows) for key in keys for version in versions)
    return FoldComparison(tuple(one.ref for one in versions), first, rows, tuple(one for one in summaries if one))


def check_fold_versions(versions: Sequence[VersionRef], baseline: VersionRef | None) -> None:
    """Validate the versions whose folds are compared.

    Raises:
        InvalidField: there is none, one is named twice, or the baseline is none of them.
    """
    if not versions:
        raise InvalidField(FieldViolation("versions", "names no version; name at least one"))
    if len(set(versions)) < len(versions):
        raise InvalidField(FieldViolation("versions", "names a version twice; name each once"))
    if baseline is not None and baseline not in versions:
        names = ", ".join(map(str, versions))
        raise InvalidField(FieldViolation("baseline", f"{baseline} is not among the versions; choose one of {names}"))


def _rows(versions: Sequence[ModelVersion]) -> Iterable[FoldRow]:
    for name in dict.fromkeys(fold.name for version in versions for fold in version.folds):
        having = {str(version.ref): fold for version in versions for fold in version.folds if fold.name == name}
        windows = dict.fromkeys(window for window in map(_window, having.values()) if any(window))
        if len(windows) <= 1:
            yield from _metric_rows(name, next(iter(windows), NO_WINDOW), having)
            continue
        for window in (*windows, NO_WINDOW):  # A fold without a window could be any of several.
            same = {version: fold for version, fold in having.items() if _window(fold) == window}
            yield from _metric_rows(name, window, same)


def _window(fold: ValidationFold) -> tuple[str, str]:
    return fold.test_from, fold.test_until


def _metric_rows(name: str, window: tuple[str, str], folds: Mapping[str, ValidationFold]) -> Iterable[FoldRow]:
    for key in sorted({key for fold in folds.values() for key in fold.metrics}):
        values = {version: fold.metrics[key] for version, fold in folds.items() if key in fold.metrics}
        yield FoldRow(name, *window, key, values)


def _summary(version: VersionRef, baseline: VersionRef, key: str, rows: Sequence[FoldRow]) -> FoldSummary | None:
    name, other = str(version), str(baseline)
    found = [row.values for row in rows if row.metric == key and name in row.values]
    if not found:
        return None
    values = [one[name] for one in found]
    size = max(abs(value) for one in found for value in one.values())
    differences = [one[name] - one[other] for one in found if other in one] if version != baseline else []
    return FoldSummary(
        version=version,
        metric=key,
        folds=len(values),
        mean=_mean(values),
        deviation=_deviation(values, size),
        paired_folds=len(differences),
        difference=_mean(differences) if differences else None,
        difference_deviation=_deviation(differences, size),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _deviation(values: Sequence[float], size: float) -> float | None:
    """Return the standard deviation; 0 for rounding errors of numbers up to `size`, None for fewer than two."""
    if len(values) < 2:
        return None
    mean = _mean(values)
    found = math.sqrt(sum((value - mean) * (value - mean) for value in values) / (len(values) - 1))
    return found if found > TOLERANCE * size else 0.0

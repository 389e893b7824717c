"""What the configurations that were tried say of the one that was chosen."""

from collections.abc import Sequence

import numpy as np

from modelward.backtest import Backtest, Overfitting, SelectionOverfitting, SharpeHaircut
from modelward.data import Columns
from modelward.errors import FieldViolation, InvalidField
from modelward.kinds import without_times
from modelward_server.statistics.metrics import Floats
from modelward_server.statistics.overfitting import (
    MAX_BLOCKS,
    haircuts,
    probability_of_overfitting,
    track_record,
)
from modelward_server.statistics.rounding import unit_of, varies
from modelward_server.statistics.sharpe import sharpe_by_chance, sharpe_ratio

MIN_ROWS = 3
"""Minimum number of periods: fewer have no skewness."""
ROWS_OF_BLOCK = 4
"""Minimum number of periods in a block of the cross-validation."""
MIN_BLOCKS = 4


def assess_trials(returns: Columns, chosen: str, periods_per_year: float, field: str) -> Overfitting:
    """Compute what the returns of all configurations say of the chosen one.

    Args:
        returns: of each configuration, in the order of time; columns of times are left out.
        chosen: its column; empty for the one with the highest Sharpe ratio.
        periods_per_year: number of periods per year.
        field: the position of the returns in the request, for errors.

    Raises:
        InvalidField: a column is not of numbers, or has a missing value or no variance; `chosen` is none of them.
    """
    columns = without_times(returns)
    _check(columns, field)
    names = list(columns)
    table = np.column_stack([np.asarray(values, np.float64) for values in columns.values()])
    ratios = [sharpe_ratio(values) if varies(values) else 0.0 for values in table.T]
    place = _place(names, ratios, chosen)
    if not varies(table[:, place]):
        raise InvalidField(FieldViolation(field, f"{names[place]!r} does not vary, so it has no Sharpe ratio"))
    return Overfitting(len(names), _backtest(table, names[place], place, ratios, periods_per_year))


def _check(columns: Columns, field: str) -> None:
    if not columns:
        raise InvalidField(FieldViolation(field, "has no column of returns; send one for each configuration"))
    for name, values in columns.items():
        if values.dtype.kind not in "fiu":
            raise InvalidField(FieldViolation(field, f"{name!r} is not a column of numbers; returns are, as fractions"))
        if not np.isfinite(values).all():
            row = int(np.argmin(np.isfinite(values)))
            raise InvalidField(FieldViolation(field, f"{name!r} has no return in row {row}; send 0 for no position"))
    rows = len(next(iter(columns.values())))
    if rows < MIN_ROWS:
        raise InvalidField(FieldViolation(field, f"has {rows} rows; a Sharpe ratio needs at least {MIN_ROWS}"))


def _place(names: Sequence[str], ratios: Sequence[float], chosen: str) -> int:
    if not chosen:
        return int(np.argmax(ratios))
    if chosen not in names:
        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
        raise InvalidField(
            FieldViolation("trials.chosen", f"{chosen!r} is no column of the returns, which are {shown}")
        )
    return names.index(chosen)


def _backtest(table: Floats, name: str, place: int, ratios: Sequence[float], periods_per_year: float) -> Backtest:
    year, (rows, count) = float(np.sqrt(periods_per_year)), table.shape
    by_chance = sharpe_by_chance(count, float(np.var(ratios, ddof=1)) if count > 1 else 0.0)
    record = track_record(table[:, place], by_chance)
    return Backtest(
        chosen=name,
        rows=rows,
        periods_per_year=periods_per_year,
        sharpe=record.ratio * year,
        probabilistic_sharpe=record.above_zero,
        minimum_rows=record.minimum_rows,
        deflated_sharpe=record.above_luck,
        expected_by_luck=by_chance * year,
        haircuts=tuple(
            SharpeHaircut(cut.method, cut.p_value, cut.ratio * year) for cut in haircuts(ratios, place, rows)
        ),
        selection=_selection(table),
    )


def _selection(table: Floats) -> SelectionOverfitting | None:
    rows, count = table.shape
    blocks = min(MAX_BLOCKS, rows // ROWS_OF_BLOCK // 2 * 2)
    if count < 2 or blocks < MIN_BLOCKS:
        return None
    units = np.array([unit_of(values) for values in table.T])  # A Sharpe ratio has no unit, whatever the others have.
    found = probability_of_overfitting(table / units, blocks)
    logits, splits = np.unique(found.logits, return_counts=True)
    counted = dict(zip(logits.tolist(), splits.tolist(), strict=True))
    return SelectionOverfitting(blocks, found.probability, counted, found.slope, found.probability_of_loss)

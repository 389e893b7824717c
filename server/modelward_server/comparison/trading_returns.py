"""Trading returns of the compared models, from their positions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.backtest import Overfitting
from modelward.comparison import DeflatedSharpe
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import VersionRef
from modelward_server.comparison.prediction_alignment import SentPredictions
from modelward_server.statistics.metrics import Scored
from modelward_server.statistics.overfitting import track_record
from modelward_server.statistics.rounding import equalize, size_of, varies
from modelward_server.statistics.sharpe import sharpe_by_chance, variance_of_ratios
from modelward_server.statistics.trading import Floats, TradingReturns, compute_trading_returns

MIN_ROWS = 3
"""Minimum number of returns: fewer have no skewness."""


def add_trading_returns(
    scored: Mapping[VersionRef, Scored],
    sent: Mapping[VersionRef, SentPredictions],
    returns: NDArray[Any],
    cost_bps: float,
    periods_per_year: float,
    rows: NDArray[np.int64] | None = None,
) -> dict[VersionRef, Scored]:
    """Add trading returns to each model's predictions.

    The positions are those that were sent, or otherwise the signs of the predictions.

    Args:
        scored: the predictions of each version.
        sent: the predictions that were sent, with their positions.
        returns: the return of a position of 1 over each row, as a fraction, shape (rows,).
        cost_bps: the cost of changing the position by 1, in basis points.
        periods_per_year: the number of rows in a year.
        rows: the rows of a segment, to which the returns are limited; None: all.

    Raises:
        InvalidField: the returns are text, or a model has no positions and predicts text.
    """
    if returns.dtype == object:
        raise InvalidField(FieldViolation("returns", "names a column of text; returns are numbers, as fractions"))
    earned = returns.astype(np.float64)
    all_returns = [
        compute_trading_returns(_positions(one, version, sent), earned, cost_bps, periods_per_year, one.panel, rows)
        for version, one in scored.items()
    ]
    nets = _without_rounding(np.array([trading_returns.net for trading_returns in all_returns]))
    return {
        version: replace(one, trading_returns=replace(trading_returns, net=net))
        for (version, one), trading_returns, net in zip(scored.items(), all_returns, nets, strict=True)
    }


def _without_rounding(nets: Floats) -> Floats:
    """Return net returns with those made equal across versions that differ only by rounding errors."""
    return np.copysign(equalize(np.abs(nets), size_of(nets)), nets)


def _positions(scored: Scored, version: VersionRef, sent: Mapping[VersionRef, SentPredictions]) -> Floats:
    positions = sent[version].positions if version in sent else None
    if positions is not None:
        return positions
    if not scored.classes:
        return np.sign(np.asarray(scored.predicted, np.float64))
    if any(isinstance(value, str) for value in scored.classes):
        fix = f"need positions, but {version} predicts text; send predictions with a column 'position'"
        raise InvalidField(FieldViolation("returns", fix))
    return np.sign(np.asarray(scored.classes, np.float64))[np.asarray(scored.predicted, np.int64)]


def deflated_sharpes(
    scored: Mapping[VersionRef, Scored], trials: Mapping[str, int], overfitting: Overfitting | None = None
) -> dict[VersionRef, DeflatedSharpe]:
    """Return the deflated Sharpe ratio of each model whose net returns vary.

    Args:
        scored: the predictions of each version, with their trading returns.
        trials: the number of trials of each model.
        overfitting: what the trials of the comparison say, which count instead.
    """
    varying = {
        version: one.trading_returns
        for version, one in scored.items()
        if one.trading_returns and len(one.trading_returns.net) >= MIN_ROWS and varies(one.trading_returns.net)
    }
    if not varying:
        return {}
    variance = variance_of_ratios([trading_returns.net for trading_returns in varying.values()])

    def deflated(version: VersionRef, one: TradingReturns) -> DeflatedSharpe:
        if overfitting and overfitting.backtest:
            backtest = overfitting.backtest
            by_chance = backtest.expected_by_luck / float(np.sqrt(backtest.periods_per_year))
            return _deflated(one, overfitting.trials, by_chance)
        count = overfitting.trials if overfitting else max(1, trials.get(version.model, 1))
        return _deflated(one, count, sharpe_by_chance(count, variance))

    return {version: deflated(version, one) for version, one in varying.items()}


def _deflated(returns: TradingReturns, trials: int, by_chance: float) -> DeflatedSharpe:
    """Return what a number of trials leaves of a Sharpe ratio; `by_chance` is what the best reaches without skill."""
    record = track_record(returns.net, by_chance)
    return DeflatedSharpe(
        probability=record.above_luck,
        trials=trials,
        expected_by_luck=by_chance * float(np.sqrt(returns.periods_per_year)),
        probabilistic=record.above_zero,
        minimum_rows=record.minimum_rows,
    )

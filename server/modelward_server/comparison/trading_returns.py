"""Trading returns of the compared models, from their positions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.backtest import Overfitting
from modelward.comparison import DeflatedSharpe
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import VersionRef
from modelward_server.comparison.prediction_alignment import Answers
from modelward_server.comparison.scoring import numbers_of
from modelward_server.statistics.metrics import Scored
from modelward_server.statistics.overfitting import track_record
from modelward_server.statistics.panel import Panel
from modelward_server.statistics.portfolio import equal_risk_weights
from modelward_server.statistics.rounding import equalize_sizes, varies
from modelward_server.statistics.sharpe import sharpe_by_chance, variance_of_ratios
from modelward_server.statistics.trading import Floats, TradingReturns, compute_trading_returns

MIN_ROWS = 3
"""Minimum number of returns: fewer have no skewness."""


@dataclass(frozen=True)
class TradingTerms:
    """How positions become the returns of a portfolio."""

    cost_bps: float
    """The cost of changing the position by 1, in basis points."""
    periods_per_year: float
    """The number of times in a year."""
    equal_risk_times: int = 0
    """The number of returns from which the volatilities of equal risk are estimated; 0: no equal risk."""
    horizon: int = 1
    """The number of times over which a return reaches."""


@dataclass(frozen=True)
class TradingColumns:
    """The columns of the compared rows that trading metrics need."""

    returns: NDArray[Any] | None
    """The return of a position of 1 over each row, as a fraction, shape (rows,); None if versions send their own."""
    weights: NDArray[Any] | None
    """The share of the capital of each row, shape (rows,); None: equal shares, or equal risk."""
    panel: Panel | None
    """The times and groups of the rows."""


@dataclass(frozen=True)
class Portfolios:
    """The portfolio of each model over all compared rows.

    Attributes:
        terms: how positions become returns.
        positions: of each version, shape (rows,); empty if there are no returns.
        returns: of a position of 1, likewise.
        weights: the share of the capital of each row, likewise; None: equal shares.
    """

    terms: TradingTerms
    positions: Mapping[VersionRef, Floats]
    returns: Mapping[VersionRef, Floats]
    weights: Mapping[VersionRef, Floats | None]

    def add_to(
        self, scored: Mapping[VersionRef, Scored], rows: NDArray[np.int64] | None = None
    ) -> dict[VersionRef, Scored]:
        """Add trading returns to the predictions of models over all compared rows, unless there are no returns.

        Args:
            scored: the predictions of some of the versions.
            rows: the rows of a segment, to which the returns are limited; None: all.
        """
        if not self.returns:
            return dict(scored)
        all_returns = [
            compute_trading_returns(
                self.positions[version],
                self.returns[version],
                self.terms.cost_bps,
                self.terms.periods_per_year,
                one.panel,
                rows,
                self.weights[version],
            )
            for version, one in scored.items()
        ]
        nets = np.array([trading_returns.net for trading_returns in all_returns])
        return {
            version: replace(one, trading_returns=replace(trading_returns, net=net))
            for (version, one), trading_returns, net in zip(
                scored.items(), all_returns, equalize_sizes(nets, nets), strict=True
            )
        }

    def notes(self) -> tuple[str, ...]:
        """Return how many rows have no position by equal risk, of the version with the most of them."""
        known = [one for one in self.weights.values() if one is not None]
        if not (self.terms.equal_risk_times and known):
            return ()
        without, rows = max(int(np.count_nonzero(one == 0)) for one in known), len(known[0])
        fewer = f"fewer than {self.terms.equal_risk_times:,} earlier returns that vary"
        return (f"equal risk: {without:,} of {rows:,} rows have no position, because their group has {fewer}",)


def portfolios_of(
    scored: Mapping[VersionRef, Scored],
    answers: Mapping[VersionRef, Answers],
    columns: TradingColumns,
    terms: TradingTerms,
) -> Portfolios:
    """Return the portfolio of each model.

    The positions are those that were sent, or otherwise the signs of the predictions.

    Args:
        scored: the predictions of each version.
        answers: the same, with the positions and returns that were sent.
        columns: the returns and weights of the same rows.
        terms: how positions become returns.

    Raises:
        InvalidField: the returns are text or only some versions have them, weights are missing, negative or lack
            returns, equal risk lacks groups, or a model has no positions and predicts text.
    """
    earned = _returns(scored, answers, columns.returns)
    if not earned:
        _check_unused(columns, terms)
        return Portfolios(terms, {}, {}, {})
    shared = {id(returns): returns for returns in earned.values()}  # Versions without returns of their own have one.
    weights = {key: _weights(returns, columns, terms) for key, returns in shared.items()}
    positions = {version: _positions(one, version, answers) for version, one in scored.items()}
    return Portfolios(terms, positions, earned, {version: weights[id(one)] for version, one in earned.items()})


def _returns(
    scored: Mapping[VersionRef, Scored], answers: Mapping[VersionRef, Answers], common: NDArray[Any] | None
) -> dict[VersionRef, Floats]:
    """Return the returns of each version: its own, or otherwise those of the test data; empty if there are none."""
    own = {version: one.returns for version, one in answers.items() if one.returns is not None and version in scored}
    if common is None:
        lacking = next((version for version in scored if version not in own), None)
        if own and lacking:
            fix = f"is missing, and {lacking} has no returns of its own; name a column, or send a column 'return'"
            raise InvalidField(FieldViolation("returns", fix))
        return own
    numbers = numbers_of(common, "returns", "returns are numbers, as fractions")
    return {version: own.get(version, numbers) for version in scored}


def _check_unused(columns: TradingColumns, terms: TradingTerms) -> None:
    """Refuse weights of positions without returns.

    Raises:
        InvalidField: there are some.
    """
    for field, given in (
        ("portfolio_weights", columns.weights is not None),
        ("equal_risk_times", terms.equal_risk_times),
    ):
        if given:
            raise InvalidField(FieldViolation(field, "weights positions, which need returns; name their column"))


def _weights(returns: Floats, columns: TradingColumns, terms: TradingTerms) -> Floats | None:
    if terms.equal_risk_times:
        if columns.panel is None or columns.panel.groups is None:
            fix = "needs rows with a time and a group; name their columns"
            raise InvalidField(FieldViolation("equal_risk_times", fix))
        return equal_risk_weights(returns, columns.panel, terms.equal_risk_times, terms.horizon)
    if columns.weights is None:
        return None
    weights = numbers_of(columns.weights, "portfolio_weights", "weights are shares of the capital")
    if (weights < 0).any():
        row = int(np.argmax(weights < 0))
        fix = f"names a column with {weights[row]:g} in row {row}; weights are at least 0, a short position is negative"
        raise InvalidField(FieldViolation("portfolio_weights", fix))
    return weights


def _positions(scored: Scored, version: VersionRef, answers: Mapping[VersionRef, Answers]) -> Floats:
    positions = answers[version].positions if version in answers else None
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

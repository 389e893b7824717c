"""Promotion gates on a version's backtest: how many configurations were tried, and how long its returns are."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import scipy  # Its parts are imported when they are used, so that the server starts quickly.

from modelward.backtest import Backtest
from modelward.lifecycle import GateResult, ModelVersion, PromotionPolicy
from modelward.shared.figures import beside, level, metric


@dataclass(frozen=True)
class ReturnsEvidence:
    """What a series of returns says of a version's Sharpe ratio."""

    source: str
    """Where the returns are from, such as "comparison comparison-0123"."""
    rows: int
    """Number of returns: rows, or of a panel times."""
    trials: int
    probabilistic: float
    """The probability that the true ratio is above 0."""
    deflated: float
    """The probability that it exceeds what the best of the trials reaches by chance."""


def asks_for_returns(policy: PromotionPolicy) -> bool:
    """Return whether a gate is about returns."""
    return policy.min_deflated_sharpe is not None or policy.min_track_record is not None


def needs_returns(policy: PromotionPolicy, candidate: ModelVersion) -> bool:
    """Return whether a gate needs returns that were not registered with the version."""
    return asks_for_returns(policy) and _registered(candidate) is None


def backtest_gates(
    policy: PromotionPolicy, candidate: ModelVersion, compared: ReturnsEvidence | None
) -> Iterator[GateResult]:
    """Evaluate the conditions on a version's backtest.

    Args:
        policy: the conditions.
        candidate: the version.
        compared: what its newest comparison with returns says, if `needs_returns`.
    """
    backtest = _registered(candidate)
    if policy.max_pbo is not None:
        yield _overfitting(policy.max_pbo, candidate, backtest)
    evidence = compared if backtest is None else _of_trials(backtest, candidate)
    if policy.min_deflated_sharpe is not None:
        yield _deflated(policy.min_deflated_sharpe, candidate, evidence)
    if policy.min_track_record is not None:
        yield _track_record(policy.min_track_record, candidate, evidence)


def _registered(candidate: ModelVersion) -> Backtest | None:
    return candidate.overfitting.backtest if candidate.overfitting else None


def _of_trials(backtest: Backtest, candidate: ModelVersion) -> ReturnsEvidence:
    trials = candidate.overfitting.trials if candidate.overfitting else 1
    probabilistic, deflated = backtest.probabilistic_sharpe, backtest.deflated_sharpe
    return ReturnsEvidence("the returns of its trials", backtest.rows, trials, probabilistic, deflated)


def _overfitting(most: float, candidate: ModelVersion, backtest: Backtest | None) -> GateResult:
    gate = "max_pbo"
    if backtest is None or backtest.selection is None:
        lacks = "returns of its trials" if backtest is None else "two trials and 16 periods, which the estimate needs"
        return GateResult(gate, False, f"{candidate} was registered without {lacks}")
    found = backtest.selection
    splits = sum(found.logits.values())
    value, bound = beside(found.probability, most, metric)
    evidence = f"the probability of overfitting is {value}, of {splits:,} splits; at most {bound} is allowed"
    return GateResult(gate, found.probability <= most, evidence)


def _deflated(least: float, candidate: ModelVersion, found: ReturnsEvidence | None) -> GateResult:
    gate = "min_deflated_sharpe"
    if found is None:
        return _no_returns(gate, candidate)
    trials = f"{found.trials:,} trial" + ("s" if found.trials != 1 else "")
    value, bound = beside(found.deflated, least, metric)
    evidence = f"the deflated Sharpe ratio is {value}, of {trials}; at least {bound} is required ({found.source})"
    return GateResult(gate, found.deflated >= least, evidence)


def _track_record(confidence: float, candidate: ModelVersion, found: ReturnsEvidence | None) -> GateResult:
    gate = "min_track_record"
    if found is None:
        return _no_returns(gate, candidate)
    score = float(scipy.special.ndtri(found.probabilistic))
    if score <= 0:
        return GateResult(gate, False, f"{found.rows:,} rows, whose Sharpe ratio is not above 0 ({found.source})")
    needed = 1 + (found.rows - 1) * (float(scipy.special.ndtri(confidence)) / score) ** 2
    evidence = f"{found.rows:,} rows, needs {ceil(needed):,} at {level(confidence)} ({found.source})"
    return GateResult(gate, found.probabilistic >= confidence, evidence)


def _no_returns(gate: str, candidate: ModelVersion) -> GateResult:
    return GateResult(gate, False, f"{candidate} has neither returns of its trials nor a comparison with returns")

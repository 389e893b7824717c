"""How often do verdicts err? Two models that are equally good, and two that are not, on rows that depend on each other.

    python benchmarks/verdicts.py [--runs 200] [--rows 500] [--markdown FILE]

Each model answers with a signal in noise of its own. The noise, and so the loss, is independent from row to row, or
AR(1) with 0.7, or has the volatility of a GARCH(1, 1) with 0.08 and 0.90. Counted is how often the p-value of each
metric is at most 5 %: of equal models that is a false alarm, of unequal ones it is power. Beside it the paired t-test
that takes rows for independent, on the losses of the same rows.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.signal import lfilter
from scipy.stats import norm, ttest_rel

from modelward.comparison import Metric
from modelward.lifecycle import VersionRef
from modelward_server.comparison.verdict import EvaluationTerms, evaluate
from modelward_server.statistics.losses import mean_losses
from modelward_server.statistics.metrics import Scored
from modelward_server.statistics.trading import compute_trading_returns

OLD, NEW = VersionRef("model", 1), VersionRef("model", 2)
CLASSES = (Metric.F1, Metric.ACCURACY, Metric.ROC_AUC, Metric.BRIER)
NUMBERS = (Metric.R2, Metric.MSE, Metric.MAE, Metric.SHARPE, Metric.NET_RETURN)
"""The first decides, and is no mean over the rows: so the sets of models, which take long, are not drawn."""
LEVEL = 0.05
BETTER = 0.8
"""How loud the better model's noise is, relative to the other's."""
Floats = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--markdown", type=Path, help="also write the table into this file")
    asked = parser.parse_args()
    lines = ["| rows | metric | false alarms | t-test | power | t-test |", "|---|---|---|---|---|---|"]
    for name, noise in SERIES.items():
        equal, unequal = (_rates(noise, loudness, asked.runs, asked.rows, name) for loudness in (1.0, BETTER))
        for metric in equal:
            (ours, naive), (power, naive_power) = equal[metric], unequal[metric]
            lines.append(f"| {name} | {metric} | {ours:.1%} | {naive} | {power:.1%} | {naive_power} |")
    Console().print("\n".join(lines), markup=False, soft_wrap=True)
    if asked.markdown:
        asked.markdown.write_text("\n".join(lines) + "\n")


def _independent(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    return random.normal(size=shape)


def _autoregressive(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    drawn = lfilter([1], [1, -0.7], random.normal(size=(shape[0], shape[1] + 100)), axis=1)
    return np.asarray(drawn[:, 100:] * np.sqrt(1 - 0.49))


def _garch(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """One volatility for all, as a market has."""
    variance, found = 1.0, np.empty(shape)
    shocks = random.normal(size=shape)
    for row in range(shape[1]):
        found[:, row] = shocks[:, row] * np.sqrt(variance)
        variance = 0.02 + 0.08 * float(np.square(found[:, row]).mean()) + 0.90 * variance
    return found


SERIES: dict[str, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
    "independent": _independent,
    "AR(1), 0.7": _autoregressive,
    "GARCH(1, 1)": _garch,
}


def _rates(
    noise: Callable[[np.random.Generator, tuple[int, int]], Floats], loudness: float, runs: int, rows: int, name: str
) -> dict[Metric, tuple[float, str]]:
    """Return for each metric how often a difference was found, and how often the t-test found one."""
    found: dict[Metric, list[tuple[bool, bool | None]]] = {metric: [] for metric in CLASSES + NUMBERS}
    for seed in track(range(runs), f"{name}, {loudness:g}", console=Console(stderr=True), transient=True):
        drawn = noise(np.random.default_rng(seed), (3, rows)) * np.array([[1.0], [1.0], [loudness]])
        for scored, metrics in ((_classified(drawn), CLASSES), (_predicted(drawn), NUMBERS)):
            terms = EvaluationTerms(metrics, metrics[0], OLD, 0.0, 0.95, 0.0, seed)
            for one in evaluate(scored, terms).models[NEW].differences:
                found[one.metric].append((one.p_value <= LEVEL, _naive(one.metric, scored)))
    return {metric: (np.mean([ours for ours, _ in told]).item(), _share(told)) for metric, told in found.items()}


def _share(told: list[tuple[bool, bool | None]]) -> str:
    naive = [theirs for _, theirs in told if theirs is not None]
    return f"{np.mean(naive):.1%}" if naive else ""


def _naive(metric: Metric, scored: dict[VersionRef, Scored]) -> bool | None:
    losses = [mean_losses(metric, one) for one in scored.values()]
    if losses[0] is None or losses[1] is None or np.ptp(losses[0] - losses[1]) == 0:
        return None
    return bool(ttest_rel(*losses).pvalue <= LEVEL)


def _classified(drawn: Floats) -> dict[VersionRef, Scored]:
    truth = (drawn[0] > 0).astype(np.int64)
    return {version: _answer(drawn[0], noise, truth) for version, noise in zip((OLD, NEW), drawn[1:], strict=True)}


def _answer(signal: Floats, noise: Floats, truth: NDArray[np.int64]) -> Scored:
    seen = signal + 2 * noise
    up = norm.cdf(seen / 2)
    predicted = (seen > 0).astype(np.int64)
    return Scored(truth, predicted, (0, 1), np.column_stack([1 - up, up]))


def _predicted(drawn: Floats) -> dict[VersionRef, Scored]:
    returns = drawn[0] / 100
    seen = {OLD: returns + drawn[1] / 20, NEW: returns + drawn[2] / 20}
    return {
        version: Scored(
            returns, answers, trading_returns=compute_trading_returns(np.sign(answers), returns, 0.0, 252.0)
        )
        for version, answers in seen.items()
    }


if __name__ == "__main__":
    main()

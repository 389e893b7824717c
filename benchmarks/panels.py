"""How often do panels raise false alarms, and what power do they have? Comparison, drift and A/B tests by day.

    python benchmarks/panels.py [comparison] [overlap] [auc] [verdicts] [drift] [fewer] [joint] [abtest] [--tables 1000]
        [--symbols 5 20 100] [--days 60 250 1000] [--markdown FILE]

A market of symbols has a factor that all of them load on and noise of their own, both AR(1) with 0.5. Labels are
returns of the next day, or sums over the next five days, which overlap. Panels are balanced, or have gaps: symbols are
listed and delisted, a tenth of the rows are missing and so is one day in twenty. Two models answer with the label's
signal in such noise. Equal models give the rate of false alarms at a nominal 5 %, unequal ones the power. Beside ours
stand the tests that take rows for independent (Student's t and Kolmogorov-Smirnov) and the t-test of the daily means.

The rates are of p-values, in A/B tests of sequences that exclude 0 at any of twenty looks. Intervals are of 95 %, by
Clopper and Pearson; `*` marks rates outside 3 to 8 %. The power of the t-test of the daily means is given at the
critical value with which it raises as many false alarms as ours, or 5 % if those are fewer.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.signal import lfilter
from scipy.stats import binomtest, f, ks_2samp, norm, ttest_1samp, ttest_ind

from modelward.comparison import Metric
from modelward.drift import TimeWindow
from modelward.lifecycle import VersionRef
from modelward_server.comparison.verdict import EvaluationTerms, evaluate
from modelward_server.drift.compare import compare_features, compare_jointly
from modelward_server.drift.profile import Profile
from modelward_server.drift.profile_builder import build_profile
from modelward_server.drift.sample import LiveSample
from modelward_server.statistics.arm_statistics import Arm, estimate_difference
from modelward_server.statistics.bootstrap import block_length
from modelward_server.statistics.delong import influences
from modelward_server.statistics.long_run import mean_difference
from modelward_server.statistics.metrics import Scored
from modelward_server.statistics.panel import Panel

Floats: TypeAlias = NDArray[np.float64]
LEVEL, OVERLAP, PERSISTENCE = 0.05, 5, 0.5
LIVE_DAYS, GAP, LOOKS = 20, 20, 20
POWER_PART = 5
"""The power is measured on a fifth of the tables."""
OLD, NEW = VersionRef("model", 1), VersionRef("model", 2)


@dataclass(frozen=True)
class Cell:
    """One kind of panel."""

    symbols: int
    days: int
    balanced: bool

    def __str__(self) -> str:
        return f"{self.symbols} | {self.days:,} | {'balanced' if self.balanced else 'gaps'}"


def autoregressive(random: np.random.Generator, days: int, columns: int, persistence: float = PERSISTENCE) -> Floats:
    """Return columns of AR(1) noise of variance 1, shape (days, columns)."""
    shocks = random.normal(size=(days + 30, columns)) * np.sqrt(1 - persistence**2)
    return np.asarray(lfilter([1], [1, -persistence], shocks, axis=0)[30:])


def market(random: np.random.Generator, cell: Cell, common: float = 0.5) -> Floats:
    """Return AR(1) noise whose variance has the given share in common, shape (days, symbols)."""
    drawn = autoregressive(random, cell.days, cell.symbols + 1)
    return np.asarray(np.sqrt(common) * drawn[:, :1] + np.sqrt(1 - common) * drawn[:, 1:])


def labels(random: np.random.Generator, cell: Cell, horizon: int) -> Floats:
    """Return sums of the returns of the next days, of variance 1, shape (days, symbols)."""
    drawn = random.normal(size=(cell.days + horizon - 1, cell.symbols + 1))
    returns = np.sqrt(0.5) * (drawn[:, :1] + drawn[:, 1:])
    sums = np.cumsum(np.vstack([np.zeros((1, cell.symbols)), returns]), axis=0)
    return np.asarray((sums[horizon:] - sums[:-horizon]) / np.sqrt(horizon))


def present(random: np.random.Generator, cell: Cell) -> NDArray[np.bool_]:
    """Return which rows the panel has, shape (days, symbols): at least one on each day that is not missing."""
    shape = (cell.days, cell.symbols)
    if cell.balanced:
        return np.ones(shape, bool)
    day = np.arange(cell.days)[:, None]
    listed = random.uniform(-0.5, 0.5, cell.symbols) * cell.days
    delisted = random.uniform(0.5, 1.5, cell.symbols) * cell.days
    kept = (day >= listed) & (day < delisted) & (random.random(shape) > 0.1)
    return np.asarray(kept & (random.random((cell.days, 1)) > 0.05))


def panel_of(kept: NDArray[np.bool_]) -> Panel:
    """Return the panel of the rows that are present."""
    day, symbol = np.nonzero(kept)
    return Panel(np.unique(day, return_inverse=True)[1], symbol)


def compared(random: np.random.Generator, cell: Cell, horizon: int, size: float) -> tuple[Panel, Floats, list[Floats]]:
    """Return labels and the answers of two models, the second of which has noise of a larger variance.

    Args:
        size: 0 for equal models; the excess of the variance falls with the root of the number of days.
    """
    truth, kept = labels(random, cell, horizon), present(random, cell)
    scales = (1.0, np.sqrt(1 + size / np.sqrt(cell.days)))
    return panel_of(kept), truth[kept], [(0.3 * truth + scale * market(random, cell))[kept] for scale in scales]


def errors(random: np.random.Generator, cell: Cell, size: float, horizon: int = 1) -> list[float]:
    """Return the p-values of a difference in the mean squared error: ours, of days, of rows."""
    panel, truth, answers = compared(random, cell, horizon, size)
    old, new = (np.square(truth - answer) for answer in answers)
    return _p_values(panel, new, old, horizon)


def overlapping(random: np.random.Generator, cell: Cell, size: float) -> list[float]:
    return errors(random, cell, size, OVERLAP)


def areas(random: np.random.Generator, cell: Cell, size: float) -> list[float]:
    """Return the p-values of a difference in the area under the ROC curve, of labels that overlap."""
    panel, truth, answers = compared(random, cell, OVERLAP, size)
    old, new = influences(truth > 0, *answers)
    return _p_values(panel, new, old, OVERLAP)


def _p_values(panel: Panel, new: Floats, old: Floats, horizon: int) -> list[float]:
    days = panel.series(new) - panel.series(old)
    ours = mean_difference(panel.series(new), panel.series(old), max(block_length([days]), horizon))
    return [ours.p_value, float(ttest_1samp(days, 0).pvalue), float(ttest_1samp(new - old, 0).pvalue)]


def verdicts(random: np.random.Generator, cell: Cell, size: float) -> list[float]:
    """Return the p-values of whole evaluations: of R2 by bootstrap, of the daily means, of F1 by bootstrap."""
    panel, truth, answers = compared(random, cell, OVERLAP, size)
    scored = {version: Scored(truth, answer, panel=panel) for version, answer in zip((OLD, NEW), answers, strict=True)}
    classes = {
        version: Scored(
            (truth > 0).astype(np.int64),
            (answer > 0).astype(np.int64),
            (0, 1),
            np.column_stack([norm.sf(answer), norm.cdf(answer)]),
            panel=panel,
        )
        for version, answer in zip((OLD, NEW), answers, strict=True)
    }
    seed = int(random.integers(1 << 30))
    numbers = _evaluated(scored, (Metric.R2, Metric.MSE), seed)
    return [numbers[Metric.R2], numbers[Metric.MSE], _evaluated(classes, (Metric.F1,), seed)[Metric.F1]]


def _evaluated(scored: Mapping[VersionRef, Scored], metrics: tuple[Metric, ...], seed: int) -> dict[Metric, float]:
    terms = EvaluationTerms(metrics, metrics[0], OLD, 0.0, 0.95, 0.0, seed, OVERLAP)
    return {one.metric: one.p_value for one in evaluate(scored, terms).models[NEW].differences}


def drift(random: np.random.Generator, cell: Cell, size: float, part: int = 1) -> list[float]:
    """Return the p-values of a month of live days, shifted by so many standard deviations: ours, of days, of rows.

    The live days have one symbol in `part`.
    """
    whole = Cell(cell.symbols, cell.days + GAP + LIVE_DAYS, cell.balanced)
    values, (first, last) = market(random, whole), present_parts(random, whole, part)
    before, after = panel_of(first), panel_of(last)
    reference, rows = values[: cell.days][first], values[-LIVE_DAYS:][last] + size
    profile = build_profile({"x": reference}, panel=before)
    ours = compare_features(profile, live_sample(profile, {"x": rows}, after), "reference")[0].p_value
    days = ttest_ind(before.series(reference), after.series(rows))
    return [ours, float(days.pvalue), float(ks_2samp(reference, rows).pvalue)]


def fewer(random: np.random.Generator, cell: Cell, size: float) -> list[float]:
    """Return the p-values of `drift` where the live days have a quarter of the symbols."""
    return drift(random, cell, size, part=4)


def present_parts(
    random: np.random.Generator, whole: Cell, part: int = 1
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows the reference and the live days, of one symbol in `part`, have; both have some."""
    while True:
        kept = present(random, whole)
        kept[-LIVE_DAYS:, whole.symbols // part :] = False
        first, last = kept[: -GAP - LIVE_DAYS], kept[-LIVE_DAYS:]
        if first.any() and last.any():
            return first, last


def live_sample(profile: Profile, columns: dict[str, Floats], panel: Panel) -> LiveSample:
    live = LiveSample({"reference": profile}, "data")
    live.add({**columns}, panel.times)
    live.window = TimeWindow("day", "symbol", "1", str(panel.length), panel.length, panel.rows)
    return live


def jointly(random: np.random.Generator, cell: Cell, size: float) -> list[float]:
    """Return the p-values of two features together: ours, of their means over days (Hotelling 1931), of rows.

    Symbols of balanced panels have levels of their own (with gaps, other symbols would be drift). The effect is a shift
    of both features.
    """
    whole = Cell(cell.symbols, cell.days + GAP + LIVE_DAYS, cell.balanced)
    levels = 2 * cell.balanced * random.normal(size=cell.symbols)
    values, (first, last) = [market(random, whole) + levels for _ in range(2)], present_parts(random, whole)
    reference = [one[: cell.days][first] for one in values]
    rows = [one[-LIVE_DAYS:][last] + size for one in values]
    before, after = panel_of(first), panel_of(last)
    profile = build_profile(dict(zip("xy", reference, strict=True)), panel=before)
    ours = compare_jointly(profile, live_sample(profile, dict(zip("xy", rows, strict=True)), after), ()).p_value
    by_rows = min(float(ks_2samp(one, other).pvalue) for one, other in zip(reference, rows, strict=True))
    days = (
        np.column_stack([panel.series(one) for one in side]) for panel, side in ((before, reference), (after, rows))
    )
    return [ours, hotelling(*days), min(1.0, 2 * by_rows)]


def hotelling(one: Floats, other: Floats) -> float:
    """Return the p-value of Hotelling's two-sample T-squared test of two columns."""
    degrees = len(one) + len(other) - 2
    pooled = ((len(one) - 1) * np.cov(one.T) + (len(other) - 1) * np.cov(other.T)) / degrees
    apart = one.mean(axis=0) - other.mean(axis=0)
    squared = apart @ np.linalg.solve(pooled, apart) * len(one) * len(other) / (len(one) + len(other))
    return float(f.sf(squared * (degrees - 1) / (2 * degrees), 2, degrees - 1))


def abtest(random: np.random.Generator, cell: Cell, size: float) -> list[float]:
    """Return 0 where a sequence excluded 0 at any look, otherwise 1: ours by day, the t-test of days, ours of orders.

    Each day the orders, as many as symbols, are dealt with odds of the day between two arms that share its shock.
    """
    day = np.repeat(np.arange(cell.days), cell.symbols)
    shocks, noise = random.normal(size=cell.days), random.normal(size=len(day))
    arm = random.random(len(day)) < random.random(cell.days)[day]
    values = shocks[day] + noise + arm * size / np.sqrt(cell.days)
    means = [np.bincount(day, arms) for arms in (arm * 1.0, ~arm * 1.0, arm * values, ~arm * values)]
    both = (means[0] > 0) & (means[1] > 0)
    apart = ttest_1samp((means[2] / means[0].clip(1) - means[3] / means[1].clip(1))[both], 0).pvalue
    return [_excludes(values, arm, day), float(apart), _excludes(values, arm, None)]


def _excludes(values: Floats, arm: NDArray[np.bool_], clusters: NDArray[np.int64] | None) -> float:
    """Return 0 if the sequence of a test excluded 0 at a look, otherwise 1."""
    arms, keys = [Arm(len(values)) for _ in range(2)], np.arange(len(values))
    for look in np.array_split(keys, LOOKS):
        for place, own in enumerate((look[~arm[look]], look[arm[look]])):
            arms[place].add(own, values[own], np.full(len(own), np.nan))
        low, high = estimate_difference(*arms, paired=False, clusters=clusters).interval(LEVEL)
        if low > 0 or high < 0:
            return 0.0
    return 1.0


Trial: TypeAlias = Callable[[np.random.Generator, Cell, float], list[float]]
DAYS, ROWS = "t-test of days", "t-test of rows"
TRIALS: dict[str, tuple[str, Trial, float, tuple[str, str, str]]] = {
    "comparison": ("Comparison, labels of one day: mean squared error", errors, 6.0, ("ours", DAYS, ROWS)),
    "overlap": ("Comparison, labels of five days: mean squared error", overlapping, 6.0, ("ours", DAYS, ROWS)),
    "auc": ("Comparison, labels of five days: area under the ROC curve", areas, 20.0, ("ours", DAYS, ROWS)),
    "verdicts": ("Comparison, labels of five days: other metrics", verdicts, 6.0, ("R2", "MSE", "F1")),
    "drift": ("Drift: a month of live days", drift, 0.8, ("ours", DAYS, "KS of rows")),
    "fewer": ("Drift: a month of live days, a quarter of the symbols", fewer, 0.8, ("ours", DAYS, "KS of rows")),
    "joint": ("Drift of two features together", jointly, 0.8, ("ours", "T-squared of days", "KS of rows")),
    "abtest": ("A/B test: at any of twenty looks", abtest, 1.5, ("ours", DAYS + ", last look", "without clusters")),
}
"""The title of each trial, what it does, the size of its effect, and its tests."""


def p_values(trial: Trial, cell: Cell, size: float, tables: int) -> Floats:
    """Return the p-values of many tables, shape (tables, tests)."""
    seeds = np.random.SeedSequence([cell.symbols, cell.days, cell.balanced, round(size * 1000)]).spawn(tables)
    return np.array([trial(np.random.default_rng(seed), cell, size) for seed in seeds])


def row_of(trial: Trial, cell: Cell, size: float, tables: int) -> str:
    """Return the row of a cell: false alarms of each test, then the power of the first two."""
    equal = p_values(trial, cell, 0.0, tables)
    unequal = p_values(trial, cell, size, tables // POWER_PART)
    ours, *others = np.count_nonzero(equal <= LEVEL, axis=0).tolist()
    matched = np.quantile(equal[:, 1], max(ours / tables, LEVEL))
    rates = [rate(ours, tables), *(f"{count / tables:.1%}" for count in others)]
    power = [np.mean(unequal[:, 0] <= LEVEL), np.mean(unequal[:, 1] <= matched)]
    return "| " + " | ".join([str(cell), *rates, *(f"{one:.0%}" for one in power)]) + " |"


def rate(count: int, tables: int) -> str:
    """Return a rate of false alarms with its interval, marked where it misses the target."""
    found = binomtest(count, tables).proportion_ci()
    mark = "" if 0.03 <= count / tables <= 0.08 else " *"
    return f"{count / tables:.1%} ({found.low:.1%} to {found.high:.1%}){mark}"


def header(tests: tuple[str, str, str]) -> str:
    names = ("symbols", "days", "rows", *tests, f"power of {tests[0]}", f"of {tests[1]}")
    return "| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("trials", nargs="*", metavar="|".join(TRIALS))
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--symbols", type=int, nargs="+", default=[5, 20, 100])
    parser.add_argument("--days", type=int, nargs="+", default=[60, 250, 1000])
    parser.add_argument("--markdown", type=Path, help="also write the tables into this file")
    asked = parser.parse_args()
    console, lines = Console(), list[str]()
    cells = [Cell(s, d, balanced) for s in asked.symbols for d in asked.days for balanced in (True, False)]
    for name in asked.trials or TRIALS:
        title, trial, size, tests = TRIALS[name]
        lines += [f"{title}, {asked.tables:,} tables a cell", "", header(tests)]
        for cell in track(cells, name, console=Console(stderr=True), transient=True):
            if name != "abtest" or cell.balanced:
                lines.append(row_of(trial, cell, size, asked.tables))
                console.print(lines[-1], markup=False, soft_wrap=True)
        lines.append("")
        if asked.markdown:
            asked.markdown.write_text("\n".join(lines))


if __name__ == "__main__":
    main()

"""How often an A/B test is misled by luck when somebody looks all the time, and how soon it sees a real difference.

    python benchmarks/ab_sequences.py [--runs 1000]

Prints the tables of docs/abtest.md. The peer is what is done by hand: Welch's t-test at 95 percent, or the paired one,
at each of the same looks. Seeds are fixed, so a run with the same numbers gives the same tables.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import Pool
from typing import Any

import numpy as np
from scipy.signal import lfilter
from scipy.stats import chi2_contingency, chisquare, kstest, norm

from modelward import AbMetric, AbTest, AbTestState, Variant, VersionRef
from modelward.assignment import BUCKETS, assign, bucket
from modelward_server.abtest.result import assess
from modelward_server.statistics import sample_ratio
from modelward_server.statistics.arm_statistics import Outcomes

TEST = AbTest(
    test="simulated",
    description="",
    variants=(Variant("champion", VersionRef("m", 1)), Variant("challenger", VersionRef("m", 2))),
    coverage=1.0,
    salt="simulated",
    namespace=None,
    unit="",
    primary_metric=AbMetric("pnl"),
    guardrails=(),
    shadow=False,
    confidence_level=0.95,
    block=None,
    state=AbTestState.RUNNING,
    conclusion=None,
    created_by="",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    etag="",
)
MINUTE = 60_000_000
FIRST_LOOK = 60
Random = np.random.Generator


@dataclass(frozen=True)
class Drawn:
    """The outcomes of one simulated test, in the order of time, one each minute or two."""

    arms: Any
    units: Any
    minutes: Any
    values: Any


def each_its_own(noise: Callable[[Random, int], Any], random: Random, lift: float, size: int = 6000) -> Drawn:
    """Every outcome is a unit of its own, dealt at random."""
    arms = random.integers(0, 2, size)
    return Drawn(arms, np.arange(size), np.arange(size), noise(random, size) + lift * arms)


def repeated(random: Random, lift: float, units: int = 300, times: int = 20) -> Drawn:
    """Each unit has a level of its own and many outcomes about it."""
    dealt, level = random.integers(0, 2, units), random.normal(size=units)
    unit = np.tile(np.arange(units), times)
    values = level[unit] + random.normal(size=len(unit)) + lift * dealt[unit]
    return Drawn(dealt[unit], unit, np.arange(len(unit)), values)


def two_books(noise: Callable[[Random, int], Any], random: Random, lift: float, size: int = 9000) -> Drawn:
    """Each arm trades a book of its own, whose outcomes hang together in time."""
    values = np.column_stack([noise(random, size), noise(random, size) + lift]).ravel()
    return Drawn(np.tile([0, 1], size), np.arange(2 * size), np.repeat(np.arange(size), 2), values)


def switchback(noise: Callable[[Random, int], Any], random: Random, lift: float, blocks: int = 300) -> Drawn:
    """Each hour is a unit, and all of its outcomes get one variant."""
    arms = np.repeat(random.integers(0, 2, blocks), 60)
    size = len(arms)
    return Drawn(arms, np.arange(size) // 60, np.arange(size), noise(random, size) + lift * arms)


def shadowed(noise: Callable[[Random, int], Any], random: Random, lift: float, size: int = 3000) -> Drawn:
    """Both arms decide about every unit; the market moves both far more than they differ."""
    market = 10 * noise(random, size)
    values = np.column_stack([market, market + lift]) + random.normal(size=(size, 2))
    return Drawn(np.tile([0, 1], size), np.repeat(np.arange(size), 2), np.repeat(np.arange(size), 2), values.ravel())


def normal(random: Random, size: int) -> Any:
    return random.normal(size=size)


def skewed(random: Random, size: int) -> Any:
    return random.exponential(size=size)


def heavy(random: Random, size: int) -> Any:
    return random.standard_t(3, size=size)


def autoregressive(random: Random, size: int) -> Any:
    return lfilter([1], [1, -0.8], random.normal(size=size + 200))[200:]


def garch(random: Random, size: int) -> Any:
    """GARCH(1, 1) of Bollerslev (1986) with a persistence of 0.98, as daily returns of stocks have."""
    variance, values = 1.0, []
    for noise in random.normal(size=size + 200).tolist():
        values.append(variance**0.5 * noise)
        variance = 0.02 + 0.08 * values[-1] ** 2 + 0.90 * variance
    return np.array(values[200:])


HOURLY, SHADOW = replace(TEST, block=timedelta(hours=1)), replace(TEST, shadow=True)
SCENARIOS: dict[str, tuple[AbTest, Callable[..., Drawn]]] = {
    "independent, normal": (TEST, partial(each_its_own, normal)),
    "independent, exponential": (TEST, partial(each_its_own, skewed)),
    "independent, t with 3 degrees": (TEST, partial(each_its_own, heavy)),
    "GARCH(1, 1), units randomized": (TEST, partial(each_its_own, garch)),
    "AR(1) 0.8, units randomized": (TEST, partial(each_its_own, autoregressive)),
    "300 units, 20 outcomes each": (TEST, repeated),
    "AR(1) 0.8, two books, no blocks": (TEST, partial(two_books, autoregressive)),
    "AR(1) 0.8, two books, blocks of 60": (HOURLY, partial(two_books, autoregressive)),
    "GARCH(1, 1), two books, no blocks": (TEST, partial(two_books, garch)),
    "GARCH(1, 1), two books, blocks of 60": (HOURLY, partial(two_books, garch)),
    "AR(1) 0.8, switchback by the hour": (TEST, partial(switchback, autoregressive)),
    "AR(1) 0.8 market, shadow": (SHADOW, partial(shadowed, autoregressive)),
}


def outcomes_of(test: AbTest, drawn: Drawn) -> Outcomes:
    keys = drawn.units if test.block is None else drawn.minutes // 60
    empty = np.full((len(keys), 1), np.nan)
    return Outcomes(drawn.arms, keys.astype(np.int64), drawn.minutes * MINUTE, drawn.values[:, None], empty)


def one_test(name: str, lift: float, seed: int) -> tuple[bool, bool, int, bool]:
    """Run one test: did the sequence ever miss, did the naive one, at which share of it was a verdict there."""
    test, draw = SCENARIOS[name]
    random = np.random.default_rng([seed, *name.encode()])
    drawn = draw(random, lift)
    counts = [len(np.unique(drawn.units[drawn.arms == arm])) for arm in (0, 1)]
    looks = assess(test, outcomes_of(test, drawn), counts, 0).looks
    missed = any(not look.low <= lift <= look.high for look in looks)
    ends = np.linspace(FIRST_LOOK, len(drawn.values), 200).astype(int)
    naive = naive_p_values(drawn, ends, paired=test.shadow)
    sure = next((number for number, look in enumerate(looks) if look.low > 0), -1)
    reached = -1 if sure < 0 else round(100 * (looks[sure].at - looks[0].at) / (looks[-1].at - looks[0].at))
    return missed, bool((naive < 0.05).any()), reached, bool(naive[-1] < 0.05)


def naive_p_values(drawn: Drawn, ends: Any, *, paired: bool) -> Any:
    """Return the p-values of a t-test of all outcomes so far, at each look; NaN while an arm has none."""
    if paired:
        differences = drawn.values[1::2] - drawn.values[::2]
        counts, means, variances = _running(differences, np.ones(len(differences)), ends // 2)
        return 2 * norm.sf(np.abs(means) / np.sqrt(variances / counts))
    arms = [_running(drawn.values, drawn.arms == arm, ends) for arm in (0, 1)]
    error = np.sqrt(sum(variances / counts for counts, _, variances in arms))
    return 2 * norm.sf(np.abs(arms[1][1] - arms[0][1]) / error)


def _running(values: Any, own: Any, ends: Any) -> tuple[Any, Any, Any]:
    counts, sums, squares = (np.cumsum(own * values**power)[ends - 1] for power in (0, 1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return counts, sums / counts, (squares - sums**2 / counts) / (counts - 1)


def repeat(pool: Any, name: str, lift: float, runs: int) -> Any:
    return np.array(pool.map(partial(one_test, name, lift), range(runs), chunksize=10), float)


def print_errors(pool: Any, runs: int) -> None:
    print(f"\nNo difference, 200 looks, {runs} tests each: share with any false positive at 95 %\n")
    print("| outcomes | sequence ever excludes 0 | t-test ever below 0.05 | t-test at the end |\n|---|---:|---:|---:|")
    for name in SCENARIOS:
        missed, naive, _, last = repeat(pool, name, 0.0, runs).T
        print(f"| {name} | {missed.mean():.3f} | {naive.mean():.3f} | {last.mean():.3f} |", flush=True)


def print_power(pool: Any, runs: int) -> None:
    print(f"\nA real difference, {runs} tests each: share superior by the end, and how far the test had run\n")
    print(
        "| outcomes | difference | superior | half of these by | t-test at the end alone |\n|---|---:|---:|---:|---:|"
    )
    cases = [("independent, normal", lift) for lift in (0.05, 0.1, 0.15, 0.2, 0.4)]
    cases += [("300 units, 20 outcomes each", 0.5), ("AR(1) 0.8, two books, blocks of 60", 0.3)]
    cases += [("AR(1) 0.8, switchback by the hour", 0.3), ("AR(1) 0.8 market, shadow", 0.1)]
    for name, lift in cases:
        _, _, reached, last = repeat(pool, name, lift, runs).T
        sure = reached[reached >= 0]
        when = f"{np.median(sure):.0f} %" if len(sure) else ""
        print(f"| {name} | {lift:g} | {len(sure) / runs:.3f} | {when} | {last.mean():.3f} |", flush=True)


def print_past(runs: int) -> None:
    print(f"\nCUPED, 2,000 units, {runs} tests each: narrower sequences from values before the test\n")
    print("| correlation with the past | variance explained | width relative to none |\n|---:|---:|---:|")
    for correlation in (0.3, 0.5, 0.7, 0.9):
        found = np.array([_with_past(np.random.default_rng(seed), correlation) for seed in range(min(runs, 100))])
        print(f"| {correlation:g} | {found[:, 0].mean():.3f} | {found[:, 1].mean():.3f} |")


def _with_past(random: Random, correlation: float, size: int = 2000) -> tuple[float, float]:
    past, arms = random.normal(size=size), random.integers(0, 2, size)
    values = correlation * past + np.sqrt(1 - correlation**2) * random.normal(size=size)
    plain = Outcomes(arms, np.arange(size), np.zeros(size, np.int64), values[:, None], np.full((size, 1), np.nan))
    counts = [int((arms == arm).sum()) for arm in (0, 1)]
    wide, narrow = (
        assess(TEST, o, counts, 0)["challenger"]["pnl"] for o in (plain, replace(plain, before=past[:, None]))
    )
    return narrow.variance_explained, (narrow.high - narrow.low) / (wide.high - wide.low)


def print_split(runs: int) -> None:
    print(f"\nSample ratio of 1 to 1, 20,000 units, a look every 100, {runs} tests each: share with any mismatch\n")
    print("| units of the first arm | sequential, below 0.01 | chi-square ever below 0.001 |\n|---:|---:|---:|")
    for share in (0.5, 0.51, 0.52, 0.55):
        found = np.array([_ever_broken(np.random.default_rng(seed), share) for seed in range(runs)])
        print(f"| {share:.0%} | {found[:, 0].mean():.3f} | {found[:, 1].mean():.3f} |", flush=True)


def _ever_broken(random: Random, share: float) -> tuple[bool, bool]:
    first = np.cumsum(random.random(20_000) < share)[99::100]
    total = np.arange(100, 20_001, 100)
    sequential = any(
        sample_ratio.sequential_p_value([one, all_ - one], [1, 1]) < sample_ratio.MISMATCH_SIGNIFICANCE
        for one, all_ in zip(first.tolist(), total.tolist(), strict=True)
    )
    statistic = (2 * first - total) ** 2 / total
    return sequential, bool((statistic > 10.828).any())


def print_assignment(salts: int = 200, units: int = 10_000) -> None:
    print(f"\nAssignment of {units:,} accounts under {salts} salts\n")
    tests = [replace(TEST, salt=f"test-{number}") for number in range(salts)]
    names = [f"account-{number}" for number in range(units)]
    hundredths = [np.array([bucket(test.salt, name) * 100 // BUCKETS for name in names]) for test in tests]
    dealt = [np.array([assign(test, name).variant.name == "challenger" for name in names]) for test in tests]
    even = [chisquare(np.bincount(filled, minlength=100)).pvalue for filled in hundredths]
    pairs = zip(dealt[::2], dealt[1::2], strict=True)
    apart = [chi2_contingency(_table(one, two), correction=False).pvalue for one, two in pairs]
    print("| chi-square tests of | tests | below 0.05 | uniform p-values, Kolmogorov-Smirnov |\n|---|---:|---:|---:|")
    for what, p_values in (("uniform bucket counts, by hundredths", even), ("independence of two tests", apart)):
        below, uniform = np.mean(np.array(p_values) < 0.05), kstest(p_values, "uniform").pvalue
        print(f"| {what} | {len(p_values)} | {below:.3f} | p = {uniform:.2f} |")


def _table(one: Any, two: Any) -> Any:
    return [[int((one == a) @ (two == b).astype(int)) for b in (False, True)] for a in (False, True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    with Pool(2) as pool:
        print_errors(pool, runs)
        print_power(pool, runs)
    print_past(runs)
    print_split(runs)
    print_assignment()


if __name__ == "__main__":
    main()

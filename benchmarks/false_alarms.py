"""How often nothing raises an alarm, and how soon a change does: Modelward beside a naive Kolmogorov-Smirnov test.

    python benchmarks/false_alarms.py [--runs 400] [--plot docs/false_alarms.svg]

Prints the tables of docs/drift.md. Every run draws a reference and live rows anew from one series; the naive peer is
`scipy.stats.ks_2samp` at the same level. Seeds are fixed, so a run with the same numbers gives the same tables.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import cache, partial
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
from arch.bootstrap import StationaryBootstrap
from matplotlib.figure import Figure
from scipy.signal import lfilter
from scipy.stats import ks_2samp

from modelward.demo.market import Sample, load_market
from modelward.drift import DriftThresholds
from modelward_server.drift.compare import compare
from modelward_server.drift.decision import Decision, decide
from modelward_server.drift.profile import Profile
from modelward_server.drift.profile_builder import build_profile
from modelward_server.drift.sample import count_live

LEVELS = (0.1, 0.05, 0.01)
SIZES = ((1000, 63), (1000, 250))
STEP = 21
Series = Callable[[np.random.Generator, int], Any]


def independent(random: np.random.Generator, rows: int) -> Any:
    return random.normal(size=rows)


def autoregressive(coefficient: float, random: np.random.Generator, rows: int) -> Any:
    return lfilter([1], [1, -coefficient], random.normal(size=rows + 500))[500:]


def garch(random: np.random.Generator, rows: int) -> Any:
    """GARCH(1, 1) of Bollerslev (1986) with a persistence of 0.98, as daily returns of stocks have."""
    variance, values = 1.0, []
    for noise in random.normal(size=rows + 500):
        values.append(np.sqrt(variance) * noise)
        variance = 0.02 + 0.08 * values[-1] ** 2 + 0.90 * variance
    return np.array(values[500:])


def quiet_market(feature: str, random: np.random.Generator, rows: int) -> Any:
    """Resample the S&P 500 of 2003 to 2006 by the stationary bootstrap, in blocks of half a year on average."""
    own = _market().between("2003", "2006").features[feature].to_numpy()
    draws = StationaryBootstrap(126, np.arange(len(own)), seed=random)
    parts = [own[place[0][0]] for place in draws.bootstrap(-(-rows // len(own)))]
    return np.concatenate(parts)[:rows]


@cache
def _market() -> Sample:
    return load_market()


SERIES: dict[str, Series] = {
    "independent": independent,
    "AR(1), 0.7": partial(autoregressive, 0.7),
    "AR(1), 0.95": partial(autoregressive, 0.95),
    "GARCH(1, 1)": garch,
    "S&P 500 returns, 2003 to 2006, resampled": partial(quiet_market, "return_1d"),
    "S&P 500 volatility, 2003 to 2006, resampled": partial(quiet_market, "volatility_21d"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--plot", type=Path, help="where to save the picture of the rates")
    arguments = parser.parse_args()
    with Pool() as pool:
        found = {
            (name, size): np.array(pool.map(partial(_p_values, name, size), range(arguments.runs), chunksize=5))
            for name in SERIES
            for size in SIZES
        }
        _print(_rates(found))
        _print(_delays(pool, arguments.runs))
    _print(_quarters())
    if arguments.plot:
        _plot(found, arguments.plot)


def _p_values(name: str, size: tuple[int, int], seed: int) -> tuple[float, float]:
    """Return our p-value and the naive one for data that did not change."""
    random = np.random.default_rng([seed, list(SERIES).index(name), size[1]])
    reference, live = SERIES[name](random, size[0]), SERIES[name](random, size[1])
    profile = build_profile({"x": reference})
    taken = count_live({"default": profile}, [({"x": live}, None)], "data")
    return compare(profile, taken, "default").features[0].p_value, ks_2samp(live, reference, method="asymp").pvalue


def _rates(found: dict[tuple[str, tuple[int, int]], Any]) -> Iterator[list[str]]:
    yield ["series", "reference, live rows", *(f"ours at {level:.0%}" for level in LEVELS), "naive KS at 5%"]
    for (name, size), p_values in found.items():
        rates = [(p_values[:, 0] <= level).mean() for level in LEVELS]
        naive = (p_values[:, 1] <= 0.05).mean()
        yield [name, f"{size[0]}, {size[1]}", *(f"{rate:.1%}" for rate in rates), f"{naive:.1%}"]


SHIFTS: dict[str, Callable[[Any], Any]] = {
    "mean up by one deviation": lambda live: live + 1.0,
    "deviation doubled": lambda live: live * 2.0,
}
DELAYED = ("independent", "AR(1), 0.7", "GARCH(1, 1)")


def _delays(pool: Any, runs: int) -> Iterator[list[str]]:
    yield ["series", "shift", "median rows until drift", "90 % within", "detected within 504 rows"]
    for name in DELAYED:
        for shift in SHIFTS:
            delays = np.array(pool.map(partial(_delay, name, shift), range(runs // 4), chunksize=2))
            seen = delays[np.isfinite(delays)]
            middle = f"{np.median(seen):.0f}" if len(seen) else "none"
            most = np.quantile(delays, 0.9, method="higher")
            within = f"{most:.0f}" if np.isfinite(most) else "over 504"
            yield [name, shift, middle, within, f"{len(seen) / len(delays):.0%}"]


def _delay(name: str, shift: str, seed: int) -> float:
    """Return how many rows after a shift a window of 63 rows, looked at every 21, is called drift by the defaults."""
    random = np.random.default_rng([seed, list(SERIES).index(name), 99])
    series = SERIES[name](random, 1000 + 63 + 504)
    series /= series[:1000].std()
    profile = build_profile({"x": series[:1000]})
    live = np.concatenate([series[1000:1063], SHIFTS[shift](series[1063:])])
    for end in range(63 + STEP, len(live) + 1, STEP):
        if _decide(profile, {"x": live[end - 63 : end]}).drift_detected:
            return float(end - 63)
    return np.inf


def _decide(profile: Profile, live: dict[str, Any]) -> Decision:
    return decide(
        compare(profile, count_live({"default": profile}, [(live, None)], "data"), "default"), DriftThresholds()
    )


def _quarters() -> Iterator[list[str]]:
    """Compare each quarter of 2004 to 2010 with all days before 2004."""
    market = _market()
    profile = build_profile(_columns(market.between("1999", "2003")))
    yield ["quarter", "drift", "score", "confidence", "drivers", "naive KS at 5%, features out of 5"]
    for name, sample in market.between("2004", "2010").quarters():
        found = _decide(profile, _columns(sample))
        naive = sum(feature.ks_p_value <= 0.05 for feature in found.features)
        drift = "yes" if found.drift_detected else "no"
        yield [name, drift, f"{found.score:.2f}", f"{found.confidence:.3f}", ", ".join(found.drivers), str(naive)]


def _columns(sample: Sample) -> dict[str, Any]:
    return {name: sample.features[name].to_numpy() for name in sample.features}


def _print(rows: Iterator[list[str]]) -> None:
    """Print a table as Markdown."""
    head, *rest = rows
    print("| " + " | ".join(head) + " |", "|" + "---|" * len(head), sep="\n")
    for row in rest:
        print("| " + " | ".join(row) + " |")
    print(flush=True)


def _plot(found: dict[tuple[str, tuple[int, int]], Any], path: Path) -> None:
    """Draw the rate of false alarms against the nominal level: on the diagonal it is what it says."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    levels = np.geomspace(0.01, 0.5, 60)
    shown = [name for name in SERIES if name not in {"AR(1), 0.7"}]
    for axes, name in zip(figure.subplots(2, 3).flat, shown, strict=False):
        for column, label, color in ((1, "naive KS", "#d95f02"), (0, "Modelward", "#1b6ca8")):
            rates = [(found[name, SIZES[0]][:, column] <= level).mean() for level in levels]
            axes.plot(levels, rates, color=color, linewidth=2, label=label)
        axes.plot(levels, levels, color="#888888", linewidth=1, linestyle="--", label="as it says")
        axes.set(xscale="log", yscale="log", xlim=(0.01, 0.5), ylim=(0.003, 1), title=name.replace(", 2003", "\n2003"))
        axes.title.set_fontsize(9)
        axes.set_xticks([0.01, 0.05, 0.1, 0.5], ["1%", "5%", "10%", "50%"])
        axes.set_yticks([0.01, 0.05, 0.1, 0.5, 1.0], ["1%", "5%", "10%", "50%", "100%"])
        axes.minorticks_off()
    figure.supxlabel("nominal level")
    figure.supylabel("share of false alarms")
    axes.legend(fontsize=8, loc="lower right")
    for empty in figure.axes[len(shown) :]:
        empty.set_visible(False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()

"""How often does the model confidence set throw out a version that is as good as all others?

    python benchmarks/confidence_sets.py [--runs 100] [--markdown FILE]

All versions are equally good, so every one that is thrown out at 10 % is a mistake, and a table in ten may have one.
Losses are independent from row to row, AR(1), or the sum of 13 shocks, MA(12). Ours, as in docs/comparison.md, beside
`arch.bootstrap.MCS` with the block length of the data and each of its bootstraps.
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from arch.bootstrap import MCS
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.signal import lfilter

from modelward.lifecycle import VersionRef
from modelward_server.statistics.bootstrap import block_length
from modelward_server.statistics.model_confidence_set import confidence_set

LEVEL = 0.1
TABLES = ((250, 3), (250, 10), (1000, 3), (1000, 10))
"""Rows and versions."""
DRAWS = 500
Floats = NDArray[np.float64]


def filtered(
    weights: list[float], feedback: list[float], random: np.random.Generator, shape: tuple[int, int]
) -> Floats:
    drawn = lfilter(weights, [1, *feedback], random.normal(size=(shape[0] + 200, shape[1])), axis=0)
    return np.asarray(drawn[200:])


SERIES: dict[str, Callable[[np.random.Generator, tuple[int, int]], Floats]] = {
    "independent": partial(filtered, [1.0], []),
    "AR(1), 0.7": partial(filtered, [1.0], [-0.7]),
    "AR(1), 0.9": partial(filtered, [1.0], [-0.9]),
    "MA(12)": partial(filtered, [1.0] * 13, []),
}


def ours(losses: Floats, block: float, seed: int) -> float:
    return min(confidence_set({VersionRef("m", i + 1): one for i, one in enumerate(losses.T)}, block, seed).values())


def of_arch(bootstrap: str, losses: Floats, block: float, seed: int) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = MCS(
            losses, LEVEL, reps=DRAWS, block_size=max(1, round(block)), method="R", bootstrap=bootstrap, seed=seed
        )
        found.compute()
    return float(found.pvalues["Pvalue"].min())


METHODS: dict[str, Callable[[Floats, float, int], float]] = {
    "ours": ours,
    "arch, stationary": partial(of_arch, "stationary"),
    "arch, moving blocks": partial(of_arch, "moving block"),
    "arch, circular blocks": partial(of_arch, "circular"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--markdown", type=Path, help="also write the table into this file")
    asked = parser.parse_args()
    lines = [f"| losses | rows | versions | {' | '.join(METHODS)} |", "|---" * (3 + len(METHODS)) + "|"]
    for name in SERIES:
        for shape in TABLES:
            rates = " | ".join(f"{rate:.0%}" for rate in _rates(name, shape, asked.runs))
            lines.append(f"| {name} | {shape[0]} | {shape[1]} | {rates} |")
    Console().print("\n".join(lines), markup=False, soft_wrap=True)
    if asked.markdown:
        asked.markdown.write_text("\n".join(lines) + "\n")


def _rates(name: str, shape: tuple[int, int], runs: int) -> list[float]:
    wrong = np.zeros((runs, len(METHODS)), bool)
    for seed in track(range(runs), f"{name}, {shape}", console=Console(stderr=True), transient=True):
        losses = SERIES[name](np.random.default_rng(seed), shape)
        block = block_length([losses[:, 0] - other for other in losses[:, 1:].T])
        wrong[seed] = [method(losses, block, seed) <= LEVEL for method in METHODS.values()]
    return [float(rate) for rate in wrong.mean(axis=0)]


if __name__ == "__main__":
    main()

"""How long does drift take? Evidently, NannyML, alibi-detect, frouros and a scipy loop beside Modelward, in one run.

    python -m venv peers && peers/bin/pip install evidently nannyml alibi-detect frouros
    python benchmarks/drift.py [--peers peers/bin/python]

Each contestant has a process of its own on one core. The reference is prepared before the clock runs, where a library
has such a step. The measure of all is `np.sort` of the same live data. A peer that is not installed is left out.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from drift_peers import CONTESTANTS, measure
from rich.console import Console
from rich.table import Table

SIZES = ((20, 10_000), (50, 100_000), (10, 1_000_000))
LABELS = {
    "numpy_sort": "np.sort of the live data",
    "ours": "Modelward: KS, KL, JS, PSI, Wasserstein, their nulls",
    "ours_whole": "Modelward: the same, all features together, decision",
    "scipy_loop": "scipy loop: KS, KL, JS, PSI, Wasserstein",
    "evidently_default": "Evidently, default (one test a column)",
    "evidently_ks": "Evidently: KS",
    "nannyml": "NannyML: KS, JS",
    "nannyml_wasserstein": "NannyML: Wasserstein",
    "alibi_detect": "alibi-detect: KS",
    "frouros": "frouros: KS",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", type=Path, help="an interpreter in which the peers are installed")
    parser.add_argument("--only", metavar="CONTESTANT FEATURES ROWS", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        name, features, rows = arguments.only
        print(measure(OURS[name], int(features), int(rows)))
    else:
        for size in SIZES:
            Console().print(f"{size[0]} features x {size[1]:,} rows", _table(size, arguments.peers))


def _table(size: tuple[int, int], peers: Path | None) -> Table:
    table = Table("contestant", "seconds", "to np.sort", "to Modelward", "grew by MiB")
    found = dict(_measured(size, peers))
    for name, took in found.items():
        if took is None:
            table.add_row(LABELS[name], "not installed", "", "", "")
            continue
        seconds = took["seconds"]
        ratios = (seconds / found[one]["seconds"] for one in ("numpy_sort", "ours"))
        table.add_row(LABELS[name], f"{seconds:.3f}", *(f"{ratio:,.1f}" for ratio in ratios), f"{took['mib']:,.0f}")
    return table


def _measured(size: tuple[int, int], peers: Path | None) -> Iterator[tuple[str, Any]]:
    """Give what each took; None for what is not installed."""
    here = Path(__file__)
    for name in LABELS:
        if name in OURS:
            command = [sys.executable, str(here), "--only", name]
        else:
            mine = name in {"numpy_sort", "scipy_loop"}
            command = [sys.executable if mine or not peers else str(peers), str(here.with_name("drift_peers.py")), name]
        done = subprocess.run([*command, *map(str, size)], capture_output=True, text=True, check=False)
        yield name, json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def ours(reference: dict[str, Any], live: dict[str, Any]) -> Callable[[], object]:
    from modelward_server.drift.compare import compare_features
    from modelward_server.drift.profile_builder import build_profile
    from modelward_server.drift.sample import count_live

    profile = build_profile(reference)
    return lambda: compare_features(profile, count_live({"default": profile}, [(live, None)], "data"), "default")


def ours_whole(reference: dict[str, Any], live: dict[str, Any]) -> Callable[[], object]:
    from modelward.drift import DriftThresholds
    from modelward_server.drift.compare import compare
    from modelward_server.drift.decision import decide
    from modelward_server.drift.profile_builder import build_profile
    from modelward_server.drift.sample import count_live

    profile = build_profile(reference)
    return lambda: decide(
        compare(profile, count_live({"default": profile}, [(live, None)], "data"), "default"), DriftThresholds()
    )


OURS = {"ours": ours, "ours_whole": ours_whole}
assert set(LABELS) == {*CONTESTANTS, *OURS}


if __name__ == "__main__":
    main()

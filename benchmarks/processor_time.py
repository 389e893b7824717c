"""What do small drift requests, references, windows and comparisons cost, now and before, beside bare numpy or scipy?

    git worktree add /tmp/before COMMIT
    python benchmarks/processor_time.py [--before /tmp/before] [--rounds 5] [--only drift]

Each contestant is a process of its own that says how much processor time it takes for each piece of work, on one
thread. Processes of both trees alternate, so that other load on the machine meets both alike; medians are printed. Of
a drift request the time is that of the whole server, on SQLite, as the system counts it. Requests and windows have
other rows each time, and the first twenty are not counted.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from drift_peers import scipy_loop
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve()
REQUESTS = 20
REFERENCES = ((1_000, 100), (20_000, 20))
"""Rows and features."""
SEED = 20_081_015
IDLE_SHARE = 0.1
"""The share of a second of processor time below which a server counts as idle."""
TICKS = os.sysconf("SC_CLK_TCK")
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
Work = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", type=Path, help="another tree of Modelward, to be compared with this one")
    parser.add_argument("--rounds", type=int, default=5, help="processes of each tree")
    parser.add_argument("--only", nargs="*", choices=WORK, default=[*WORK], help="the work to measure; absent: all")
    parser.add_argument("--measure", choices=WORK, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(WORK[asked.measure]()))
    else:
        _print([name for name in WORK if name in asked.only], asked.before, asked.rounds)


def _print(names: list[str], before: Path | None, rounds: int) -> None:
    trees = {"now": HERE.parent.parent} | ({"before": before.resolve()} if before else {})
    table = Table("work", "ms now", "ms before", "times faster", "peer", "ms peer", "times the peer")
    for name in names:
        found = {label: [] for label in trees}  # type: dict[str, list[dict[str, Any]]]
        for _ in range(rounds):
            for label, tree in trees.items():
                found[label].append(_measured(name, tree))
        for work in found["now"][0]:
            table.add_row(work, *_cells(work, found))
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    Console().print(f"processor time, medians of {rounds} processes; load average {load}", table)


def _cells(work: str, found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    taken = {label: statistics.median(run[work]["ms"] for run in runs) for label, runs in found.items()}
    peers = [run[work]["peer"] for run in found["now"]]
    yield f"{taken['now']:,.1f}"
    yield f"{taken['before']:,.1f}" if "before" in taken else ""
    yield f"{taken['before'] / taken['now']:.1f}" if "before" in taken else ""
    yield peers[0]["name"] if peers[0] else ""
    peer = statistics.median(one["ms"] for one in peers) if peers[0] else 0.0
    yield f"{peer:,.1f}" if peer else ""
    yield f"{taken['now'] / peer:.1f}" if peer else ""


def _measured(name: str, tree: Path) -> dict[str, Any]:
    """Measure in a process of the code of a tree."""
    path = os.pathsep.join(str(tree / part) for part in ("client", "server"))
    environment = os.environ | ONE_THREAD | {"PYTHONPATH": path}
    printed = subprocess.check_output([sys.executable, str(HERE), "--measure", name], env=environment)
    result: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return result


def _milliseconds(work: Work, repeats: int) -> float:
    """Return the median processor time of this process for a piece of work; what it caches is filled before."""
    taken = []
    for _ in range(repeats + 1):
        begun = time.process_time()
        work()
        taken.append(1e3 * (time.process_time() - begun))
    return statistics.median(taken[1:] or taken)


def _columns(rows: int, features: int, seed: int = SEED) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {f"x{i}": random.normal(size=rows) for i in range(features)}


def _live(rows: int) -> Iterator[dict[str, Any]]:
    """Yield live rows of 20 features without drift, each time others."""
    return (_columns(rows, 20, SEED + number) for number in count(1))


def drift() -> dict[str, Any]:
    """`detect_drift` of 100 rows of 20 features, with a reference of 1,000 rows."""
    return {"drift of 100 x 20": _drift(1_000)}


def _drift(rows: int) -> dict[str, Any]:
    reference, live = _columns(rows, 20), _live(100)
    bare = {"name": "numpy", "ms": _milliseconds(lambda: bare_numpy(reference, next(live)), 10)}
    from modelward import Client

    with _server() as (folder, address, pid), Client(address, timeout=300) as client:
        (folder / "model.bin").write_bytes(b"model")
        version = client.register("spx", folder / "model.bin", reference=reference)
        for _ in range(REQUESTS):
            client.detect_drift(version, next(live))
        begun = _settled_time(pid)
        for _ in range(REQUESTS):
            client.detect_drift(version, next(live))
        return {"ms": 1e3 * (_settled_time(pid) - begun) / REQUESTS, "peer": bare}


def bare_numpy(reference: dict[str, Any], live: dict[str, Any]) -> list[tuple[float, ...]]:
    """Return Kolmogorov-Smirnov, Kullback-Leibler, Wasserstein and the missing share, without a p-value."""
    return [_bare(reference[name], live[name]) for name in reference]


def _bare(reference: Any, live: Any) -> tuple[float, ...]:
    missing = np.isnan(live).mean()
    x, y = np.sort(reference), np.sort(live)
    both = np.sort(np.concatenate((x, y)))
    gaps = np.abs(np.searchsorted(x, both, "right") / len(x) - np.searchsorted(y, both, "right") / len(y))
    edges = x[np.arange(1, 10) * len(x) // 10]
    shares = [(np.bincount(np.searchsorted(edges, side), minlength=10) + 0.5) / (len(side) + 5) for side in (y, x)]
    divergence = (shares[0] * np.log(shares[0] / shares[1])).sum()
    return float(gaps.max()), float(divergence), float(gaps[:-1] @ np.diff(both)), float(missing)


def reference() -> dict[str, Any]:
    """The profile of a reference, which `set_reference` builds."""
    from modelward_server.drift.profile_builder import build_profile

    def work(rows: int, features: int) -> dict[str, Any]:
        columns = _columns(rows, features)
        return {"ms": _milliseconds(lambda: build_profile(columns), 1), "peer": None}

    return {f"reference of {rows:,} x {features}": work(rows, features) for rows, features in REFERENCES}


def window() -> dict[str, Any]:
    """The comparison of a closed window of live rows with its reference, without drift."""
    from modelward.drift import DriftThresholds
    from modelward_server.drift.compare import compare
    from modelward_server.drift.decision import decide
    from modelward_server.drift.profile_builder import build_profile
    from modelward_server.drift.sample import count_live

    columns, live = _columns(1_000, 20), _live(1_000)
    profile, windows = build_profile(columns), [next(live) for _ in range(2 * REQUESTS)]
    left = iter(windows)

    def work() -> object:
        batches = [(next(left), None)]
        return decide(compare(profile, count_live({"": profile}, batches, "data"), ""), DriftThresholds())

    peer = {"name": "scipy loop", "ms": _milliseconds(scipy_loop(columns, windows[0]), 5)}
    for _ in range(REQUESTS - 1):
        work()
    return {"window of 1,000 x 20": {"ms": _milliseconds(work, REQUESTS), "peer": peer}}


def comparison() -> dict[str, Any]:
    """The evaluation of six versions on 35,000 rows, with the default metrics; without running the models."""
    return {f"comparison of 6 x 35,000, {kind}": _comparison(kind) for kind in ("numbers", "classes")}


def _comparison(kind: str) -> dict[str, Any]:
    from modelward.lifecycle import VersionRef
    from modelward_server.comparison.scoring import choose_metrics
    from modelward_server.comparison.verdict import EvaluationTerms, evaluate
    from modelward_server.statistics.metrics import Scored

    random, rows = np.random.default_rng(SEED), 35_000
    truth, scored = random.normal(size=rows), {}
    for number in range(1, 7):
        predicted = 0.3 * truth + random.normal(size=rows) * (1 + number / 20)
        up = 1 / (1 + np.exp(-predicted))
        scored[VersionRef("spx", number)] = (
            Scored(truth, predicted)
            if kind == "numbers"
            else Scored(*(1 * (side > 0) for side in (truth, predicted)), (0, 1), np.column_stack([1 - up, up]))
        )
    chosen = choose_metrics((), None, list(scored.values()), 0)
    terms = EvaluationTerms(chosen.metrics, chosen.primary, VersionRef("spx", 1), 0.0, 0.95, 0.0, SEED)
    return {"ms": _milliseconds(lambda: evaluate(scored, terms), 1), "peer": None}


@contextmanager
def _server() -> Iterator[tuple[Path, str, int]]:
    """Serve the tree's code, and give its folder, its address and its process."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        command = [sys.executable, "-m", "modelward", "serve", "--port", "0", "--data-dir", folder]
        with log.open("wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink) as process:
            try:
                yield Path(folder), f"127.0.0.1:{_port(log)}", process.pid
            finally:
                process.terminate()


def _port(log: Path) -> str:
    while not (found := re.search(r"listens on 127\.0\.0\.1:(\d+)", log.read_text())):
        time.sleep(0.1)
    return found[1]


def _server_time(pid: int) -> float:
    """Return the processor time that a process has taken, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _settled_time(pid: int) -> float:
    """Return `_server_time` once the server is idle: it creates MLflow's database after the first change, and mirrors
    reports after they are answered."""
    before = -1.0
    while (taken := _server_time(pid)) - before > IDLE_SHARE:
        before = taken
        time.sleep(1.0)
    return taken


WORK: dict[str, Callable[[], dict[str, Any]]] = {
    "drift": drift,
    "reference": reference,
    "window": window,
    "comparison": comparison,
}

if __name__ == "__main__":
    main()

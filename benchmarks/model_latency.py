"""Does BenchmarkModels tell the latency of the model? A loop in this process and MLflow's pyfunc beside it, in one run.

    python benchmarks/model_latency.py [--seconds 10] [--markdown FILE]

Each model is timed on the same rows, one by one and a thousand at a time: by `Client.benchmark` on a `modelward serve`,
by a plain loop over `model.predict`, and by the same loop over `mlflow.pyfunc.load_model(...).predict`, of a model that
was saved with its signature. They take turns, in an order drawn anew each round; told is the median over the rounds.
"""

import argparse
import os
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from numpy.typing import NDArray
from resolve import _free_port, _running, _wait_for
from rich.console import Console
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from modelward import Client

ROWS, FEATURES = 20_000, 20
BATCHES = (1, 1000)
ROUNDS = 10
MODELS = {
    "logistic regression": LogisticRegression(),
    "forest of 100 trees": RandomForestClassifier(100, max_depth=8, random_state=1),
}
Floats = NDArray[np.float64]
Timed = tuple[float, float]
"""Seconds of the median call and of the 99th percentile."""
Timer = Callable[[float], Timed]
"""Times calls for so many seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each is timed at each size")
    parser.add_argument("--markdown", type=Path, help="also write the table into this file")
    asked = parser.parse_args()
    mlflow.set_tracking_uri("sqlite://")
    with tempfile.TemporaryDirectory() as folder:
        target, data = f"localhost:{_free_port()}", Path(folder, "data")
        command = [sys.executable, "-m", "modelward", "serve", "--port", target.partition(":")[2]]
        with _running([*command, "--data-dir", str(data)]):
            _wait_for(lambda: socket.create_connection(("localhost", int(target.partition(":")[2]))) is not None)
            with Client(target) as client:
                lines = _table(client, Path(folder), asked.seconds / ROUNDS)
    Console().print("\n".join(lines), markup=False, soft_wrap=True)
    print(f"load average {os.getloadavg()[0]:.1f}")
    if asked.markdown:
        asked.markdown.write_text("\n".join(lines) + "\n")


def _table(client: Client, folder: Path, seconds: float) -> list[str]:
    lines = ["| model | rows | quantile | BenchmarkModels | plain loop | ratio | MLflow pyfunc | ratio |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    x = np.random.default_rng(1).normal(size=(ROWS, FEATURES))
    for name, model in MODELS.items():
        model.fit(x[:5000], x[:5000, 0] > 0)
        ways = _ways(client, model, x, folder / name.replace(" ", "-"))
        for rows in BATCHES:
            found = _in_turns({way: partial(timer, rows) for way, timer in ways.items()}, seconds)
            for place, quantile in enumerate(("p50", "p99")):
                ours, plain, pyfunc = (found[way][place] for way in ("ours", "plain", "pyfunc"))
                figures = (
                    f"{_shown(ours)} | {_shown(plain)} | {ours / plain:.2f} | {_shown(pyfunc)} | {ours / pyfunc:.2f}"
                )
                lines.append(f"| {name} | {rows} | {quantile} | {figures} |")
    return lines


def _ways(client: Client, model: Any, x: Floats, folder: Path) -> Mapping[str, Callable[[int, float], Timed]]:
    """Return the ways to time a model; each is given rows and seconds."""
    version = client.register(folder.name, model)
    signature = mlflow.models.infer_signature(x[:5], model.predict(x[:5]))
    saved = {"serialization_format": "skops", "skops_trusted_types": ["sklearn.tree._tree.Tree"]}
    mlflow.sklearn.save_model(model, folder, signature=signature, pip_requirements=[], **saved)
    loaded = mlflow.pyfunc.load_model(str(folder))

    def ours(rows: int, seconds: float) -> Timed:
        (timed,) = client.benchmark([version], x, batch_rows=[rows], seconds=seconds)
        return timed[rows].p50.value, timed[rows].p99.value

    return {"ours": ours, "plain": partial(_loop, model.predict, x), "pyfunc": partial(_loop, loaded.predict, x)}


def _loop(predict: Callable[[Floats], object], x: Floats, rows: int, seconds: float) -> Timed:
    """Time calls over rows that follow each other, the first one aside."""
    predict(x[:rows])
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = len(times) * rows % (len(x) - rows + 1)
        asked = x[start : start + rows]
        begun = time.perf_counter()
        predict(asked)
        times.append(time.perf_counter() - begun)
    p50, p99 = np.quantile(times, (0.5, 0.99))
    return float(p50), float(p99)


def _in_turns(timers: Mapping[str, Timer], seconds: float) -> dict[str, Timed]:
    """Time each way once a round, and return the medians over the rounds."""
    found: dict[str, list[Timed]] = {way: [] for way in timers}
    for _ in range(ROUNDS):
        for way in random.sample(sorted(timers), len(timers)):
            found[way].append(timers[way](seconds))
    return {way: (_median(times, 0), _median(times, 1)) for way, times in found.items()}


def _median(times: list[Timed], place: int) -> float:
    return statistics.median(timed[place] for timed in times)


def _shown(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs"


if __name__ == "__main__":
    main()

"""An hour of a trading desk's calls in minutes: does the server's memory stay flat, and do calls stay quick?

    python benchmarks/soak.py [--minutes 3] [--attackers 4]

`modelward serve` on SQLite, asked without a pause by 8 threads: they resolve, report, record outcomes, log metrics,
look for drift, register and promote, and open and leave watches. A desk of 100 engines that each make ten calls a
second makes 3.6 million in an hour; what part of that was made is printed, with the memory and the p99 of resolving
over time, and the growth of memory in the last half, in MB for each million calls. With attackers, clients in another
process stall, are cut off, and send messages and tables that are far too large or are none, in the second third.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import grpc
from resolve import _free_port
from rich.console import Console
from rich.table import Table
from rpc_rates import resident_mb, running

from modelward import Client
from modelward.v1 import drift_pb2
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.common_pb2 import ModelVersionRef
from modelward.v1.drift_pb2_grpc import DriftServiceStub
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub

THREADS = 8
CALLS_OF_AN_HOUR = 3_600_000
SAMPLES = 12
MODEL = "spx"


class Desk:
    """One thread's share of the calls, in the proportions of a desk: nearly all of them ask which version is meant."""

    def __init__(self, target: str, seed: int, file: Path) -> None:
        self._random, self._file, self._seed = Random(seed), file, seed  # noqa: S311
        self._client = Client(target, timeout=60)
        channel = grpc.insecure_channel(target)
        self._lifecycle, self._drift = LifecycleServiceStub(channel), DriftServiceStub(channel)
        self._ref = ModelVersionRef(model=MODEL, version=1)
        self.made: Counter[str] = Counter()
        self.times: list[float] = []
        """Seconds that resolving took, since it was looked at last."""

    def work(self, end: float) -> None:
        kinds: list[tuple[Callable[[], object], int]] = [
            (self._resolve, 1_000),
            (self._report, 200),
            (self._record, 100),
            (self._measure, 20),
            (self._detect, 20),
            (self._watch, 20),
            (self._register, 1),
        ]
        calls, weights = zip(*kinds, strict=True)
        while time.monotonic() < end:
            [call] = self._random.choices(calls, weights)
            call()
            self.made[call.__name__.strip("_")] += 1

    def _resolve(self) -> None:
        began = time.perf_counter()
        self._lifecycle.ResolveModel(pb.ResolveModelRequest(model=MODEL))
        self.times.append(time.perf_counter() - began)

    def _report(self) -> None:
        engine = f"engine-{self._random.randint(1, 100)}"
        self._lifecycle.ReportActiveVersion(pb.ReportActiveVersionRequest(version=self._ref, engine=engine))

    def _record(self) -> None:
        name = f"{self._seed}-{self.made['record']}"
        outcome = drift_pb2.Outcome(prediction_id=name, prediction=1.0, label=self._random.random())
        self._drift.RecordOutcomes(drift_pb2.RecordOutcomesRequest(version=self._ref, outcomes=[outcome]))

    def _measure(self) -> None:
        metrics = {"accuracy": self._random.random()}
        self._lifecycle.LogMetrics(pb.LogMetricsRequest(version=self._ref, metrics=metrics))

    def _detect(self) -> None:
        self._client.detect_drift(f"{MODEL}/1", {"a": [self._random.random() for _ in range(100)]})

    def _watch(self) -> None:
        watching = self._lifecycle.WatchModels(pb.WatchModelsRequest(models=[MODEL]))
        next(watching)
        watching.cancel()

    def _register(self) -> None:
        version = self._client.register(f"{MODEL}-{self._seed}", self._file)
        self._client.promote(version, to="staging")
        self._client.promote(version, to="production", reason="it passed its tests")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--attackers", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _soak(Path(folder), asked.minutes * 60, asked.attackers)


def _soak(folder: Path, seconds: float, attackers: int) -> None:
    port = _free_port()
    command = [sys.executable, "-m", "modelward", "serve", "--port", str(port), "--data-dir", str(folder)]
    with running(command) as server:
        file = _fill(f"127.0.0.1:{port}", folder)
        desks = [Desk(f"127.0.0.1:{port}", seed, file) for seed in range(THREADS)]
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=desk.work, args=[end]) for desk in desks]
        for thread in threads:
            thread.start()
        samples = []
        for number in range(SAMPLES):
            if attackers and number == SAMPLES // 3:
                script = Path(__file__).with_name("attacks.py")
                arguments = (f"127.0.0.1:{port}", str(seconds / 3), str(attackers))
                attacking = subprocess.Popen([sys.executable, str(script), *arguments])
            time.sleep(seconds / SAMPLES)
            samples.append((sum(desk.made.total() for desk in desks), resident_mb(server), _p99(desks)))
        for thread in threads:
            thread.join()
        if attackers:
            attacking.wait()
    _print(samples, sum((desk.made for desk in desks), Counter()), seconds)
    print(f"load average {os.getloadavg()[0]:.1f}")


def _p99(desks: list[Desk]) -> float:
    """Return the p99 of resolving in milliseconds since the last look."""
    times: list[float] = []
    for desk in desks:
        taken, desk.times = desk.times, []
        times += taken
    return sorted(times)[int(len(times) * 0.99)] * 1000 if times else float("nan")


def _fill(target: str, folder: Path) -> Path:
    file = folder / "model.bin"
    with Client(target, timeout=60) as client:
        list(client.list_models())  # Waits until the server is there.
        file.write_bytes(os.urandom(10_000))
        version = client.register(MODEL, file)
        client.promote(version, to="staging")
        client.promote(version, to="production", reason="it passed its tests")
        client.set_reference(version, {"a": [i / 1_000 for i in range(1_000)]})
    return file


def _print(samples: list[tuple[int, float, float]], made: Counter[str], seconds: float) -> None:
    table = Table("s", "calls", "resident MB", "resolve p99 ms")
    for number, (calls, memory, p99) in enumerate(samples, 1):
        table.add_row(f"{seconds * number / SAMPLES:,.0f}", f"{calls:,}", f"{memory:,.0f}", f"{p99:,.1f}")
    (calls, memory, _), (last_calls, last_memory, _) = samples[SAMPLES // 2 - 1], samples[-1]
    slope = (last_memory - memory) / (last_calls - calls) * 1e6
    Console().print(table, ", ".join(f"{kind} {count:,}" for kind, count in made.most_common()))
    Console().print(
        f"{made.total() / CALLS_OF_AN_HOUR:.1%} of the hour; {slope:,.0f} MB for each million calls at the end"
    )


if __name__ == "__main__":
    main()

"""How fast versions answer and what they need: each in a process of its own, timed in turns.

A machine grows slower and faster while it measures. So every version is asked for a moment at a time, in an order drawn
anew each round, and what the machine does meets all alike.
"""

import asyncio
import math
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from modelward.comparison import BatchBenchmark, DurationEstimate, ModelBenchmark
from modelward.data import Columns
from modelward.errors import ModelFailed
from modelward.lifecycle import ModelVersion, VersionRef
from modelward_server.comparison.compare import main_file
from modelward_server.comparison.process import ModelProcess, how_it_died, start_process
from modelward_server.comparison.quantiles import quantile
from modelward_server.comparison.sandbox import Limits, write_job

TURN_SECONDS = 0.05
"""How long one version is asked at a time."""


@dataclass(frozen=True)
class Asked:
    """What a benchmark is asked."""

    batch_rows: Sequence[int]
    seconds: float
    """How long each version is measured at each size."""
    level: float


@dataclass
class Timing:
    """One version's process, and what it has answered."""

    version: ModelVersion
    process: ModelProcess
    limits: Limits
    times: dict[int, list[float]]
    load_seconds: float = 0.0
    peak_bytes: int = 0
    failure: str = ""

    async def begin(self) -> None:
        """Wait until the model is loaded."""
        for seconds in await self._next("load_seconds"):
            self.load_seconds = seconds

    async def ask(self, rows: int) -> None:
        """Time calls of so many rows for one turn."""
        self.process.ask({"rows": rows, "seconds": TURN_SECONDS})
        *times, peak_bytes = await self._next("times", "peak_bytes") or [0.0]
        self.times[rows] += times
        self.peak_bytes = max(self.peak_bytes, int(peak_bytes))

    async def _next(self, *names: str) -> list[float]:
        """Read the numbers of those names in the next answer.

        An answer that does not come, or is none, is the version's failure and the end of its process: the others must
        not be timed beside one that has gone wild.
        """
        answer: Any
        try:
            async with asyncio.timeout(self.limits.seconds):
                answer = await self.process.answer()
        except TimeoutError:
            answer = {"failure": f"was stopped after {self.limits.seconds:g} s, the time limit"}
        except ValueError:
            answer = None
        numbers = _numbers(answer, names)
        if not numbers:
            self.failure = _failure(answer)
            self.process.end()
        return numbers


def _failure(answer: Any) -> str:
    """Say what went wrong, in the process's own words where it has some."""
    told = answer if isinstance(answer, dict) else {}
    if "ended" in told:
        return how_it_died(told["ended"] if isinstance(told["ended"], int) else None)
    return told["failure"] if isinstance(told.get("failure"), str) and told["failure"] else "answered what is no time"


def _numbers(answer: Any, names: Sequence[str]) -> list[float]:
    """Return the numbers of those names, one or many each; none at all when one is not finite and above zero.

    What answers is a process in which a model ran: it may say anything.
    """
    found: list[float] = []
    for name in names:
        told = answer.get(name) if isinstance(answer, dict) else None
        values = told if isinstance(told, list) else [told]
        if not values or not all(map(_is_positive, values)):
            return []
        found += map(float, values)
    return found


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


@dataclass
class Benchmark:
    """A benchmark at work.

    Args:
        columns: features, used over and over.
        blob_path: from a file's SHA-256 to where its content lies.
    """

    asked: Asked
    versions: Sequence[ModelVersion]
    columns: Columns
    limits: Limits
    blob_path: Callable[[str], Path]
    order: random.Random = field(default_factory=random.Random)

    async def run(self) -> list[ModelBenchmark]:
        """Measure. When it is cancelled, the processes are ended.

        Raises:
            FormatNotExecutable: the server does not run a version's format.
            ModelFailed: no version answered.
        """
        files = {version.ref: main_file(version, self.limits.allow_pickle) for version in self.versions}
        columns = await asyncio.to_thread(_repeated, self.columns, max(self.asked.batch_rows))
        async with AsyncExitStack() as stack:
            timings = [
                await stack.enter_async_context(self._started(version, files[version.ref].sha256, columns))
                for version in self.versions
            ]
            for rows in self.asked.batch_rows:
                await self._measure([one for one in timings if not one.failure], rows)
        if all(one.failure for one in timings):
            raise ModelFailed("no version answered: " + "; ".join(f"{one.version} {one.failure}" for one in timings))
        sizes = {version.ref: sum(file.size_bytes for file in version.files) for version in self.versions}
        return [self._summary(one, sizes) for one in timings]

    @asynccontextmanager
    async def _started(self, version: ModelVersion, sha256: str, columns: Columns) -> Any:
        with TemporaryDirectory(prefix="modelward-") as name:
            folder = Path(name)
            seconds = self.limits.seconds + self.asked.seconds * len(self.asked.batch_rows)
            await asyncio.to_thread(write_job, folder, version, self.blob_path(sha256), columns, self.limits, seconds)
            async with start_process(version.format, "time", folder) as process:
                timing = Timing(version, process, self.limits, {rows: [] for rows in self.asked.batch_rows})
                await timing.begin()
                yield timing

    async def _measure(self, timings: list[Timing], rows: int) -> None:
        """Ask in turns until each has answered for as long as was asked."""
        turns = max(1, round(self.asked.seconds / TURN_SECONDS))
        spent = dict.fromkeys(range(len(timings)), 0.0)
        for _ in range(turns):
            due = [i for i, one in enumerate(timings) if not one.failure and spent[i] < self.asked.seconds]
            for i in self.order.sample(due, len(due)):
                await timings[i].ask(rows)
                spent[i] = sum(timings[i].times[rows])

    def _summary(self, timing: Timing, sizes: Mapping[VersionRef, int]) -> ModelBenchmark:
        ran = not timing.failure
        batches = [self._batch(rows, times) for rows, times in timing.times.items() if ran]
        return ModelBenchmark(
            version=timing.version.ref,
            load_seconds=timing.load_seconds,
            size_bytes=sizes[timing.version.ref],
            peak_memory_bytes=timing.peak_bytes,
            batches=tuple(batches),
            failure=timing.failure,
        )

    def _batch(self, rows: int, times: Sequence[float]) -> BatchBenchmark:
        estimates = (quantile(times, share, self.asked.level) for share in (0.5, 0.95, 0.99))
        p50, p95, p99 = (DurationEstimate(one.value, one.low, one.high) for one in estimates)
        return BatchBenchmark(rows, len(times), p50, p95, p99, rows * len(times) / sum(times))


def _repeated(columns: Columns, rows: int) -> Columns:
    """Repeat the rows until there are so many."""
    return {name: np.resize(values, max(rows, len(values))) for name, values in columns.items()}

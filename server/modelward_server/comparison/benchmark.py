"""How fast versions answer and what they need: each in a process of its own, timed in turns.

A machine grows slower and faster while it measures. So every version is asked for a moment at a time, in an order drawn
anew each round, and what the machine does meets all alike.
"""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modelward.comparison import BatchBenchmark, DurationEstimate, ModelBenchmark
from modelward.data import Columns
from modelward.errors import ModelFailed
from modelward.lifecycle import ModelVersion, VersionRef
from modelward_server.comparison.compare import main_file
from modelward_server.sandbox.answers import ModelProcessError, failure_text, numbers, seconds
from modelward_server.sandbox.sandbox import Limits, write_job
from modelward_server.sandbox.sandbox_process import ModelProcess, start_process
from modelward_server.sandbox.scratch import job_folder
from modelward_server.statistics.quantiles import quantile

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
        answer = await self._next("load_seconds")
        if answer:
            self.load_seconds = answer["load_seconds"][0]

    async def ask(self, rows: int) -> None:
        """Time calls of so many rows for one turn."""
        self.process.send({"rows": rows, "seconds": TURN_SECONDS})
        answer = await self._next("times", "peak_bytes")
        if answer:
            self.times[rows] += answer["times"]
            self.peak_bytes = max(self.peak_bytes, int(answer["peak_bytes"][0]))

    async def _next(self, *names: str) -> dict[str, list[float]]:
        """Read the numbers of those names in the next answer; none when there is no answer.

        An answer that does not come, or is none, is the version's failure and the end of its process: the others must
        not be timed beside one that has gone wild.
        """
        try:
            async with asyncio.timeout(self.limits.seconds):
                return read_numbers(await self.process.answer(), names)
        except TimeoutError:
            self.failure = f"was stopped after {self.limits.seconds:g} s, the time limit"
        except ModelProcessError as failed:
            self.failure = str(failed)
        self.process.end()
        return {}


def read_numbers(answer: Mapping[str, Any], names: Sequence[str]) -> dict[str, list[float]]:
    """Return the numbers of those names, one or many each.

    Raises:
        ModelProcessError: the answer says that the model failed, or holds what is no number above zero.
    """
    if "failure" in answer:
        raise ModelProcessError(failure_text(answer["failure"]))
    read = {name: numbers if name == "peak_bytes" else seconds for name in names}
    return {name: read[name](answer.get(name), name) for name in names}


@dataclass
class Benchmark:
    """A benchmark at work.

    Args:
        columns: features, used over and over.
        blob_path: from a file's SHA-256 to where its content lies; it verifies it.
        names: the columns of the reference of each version that has one, in their order.
    """

    asked: Asked
    versions: Sequence[ModelVersion]
    columns: Columns
    limits: Limits
    blob_path: Callable[[str], Path]
    names: Mapping[VersionRef, Sequence[str]] = field(default_factory=dict)
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
        with job_folder() as folder:
            seconds = self.limits.seconds + self.asked.seconds * len(self.asked.batch_rows)
            model = await asyncio.to_thread(self.blob_path, sha256)
            names = self.names.get(version.ref, ())
            await asyncio.to_thread(write_job, folder, version, model, columns, self.limits, seconds, names)
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

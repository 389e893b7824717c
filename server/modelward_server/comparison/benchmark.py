"""Benchmark the latency and memory of versions: each in its own process, timed in interleaved turns.

A machine's speed varies while it measures. Every version is therefore timed for a short turn at a time, in an order
that is shuffled each round, so that the variation affects all versions equally.
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
"""Duration of one turn of one version, in seconds."""


@dataclass(frozen=True)
class BenchmarkOptions:
    """The options of a benchmark."""

    batch_rows: Sequence[int]
    """The batch sizes to measure."""
    seconds: float
    """How long each version is measured at each batch size."""
    level: float
    """The confidence level of the intervals."""


@dataclass
class VersionTiming:
    """One version's process, and the times it has reported."""

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
        """Time calls with a number of rows for one turn."""
        self.process.send({"rows": rows, "seconds": TURN_SECONDS})
        answer = await self._next("times", "peak_bytes")
        if answer:
            self.times[rows] += answer["times"]
            self.peak_bytes = max(self.peak_bytes, int(answer["peak_bytes"][0]))

    async def _next(self, *names: str) -> dict[str, list[float]]:
        """Read the numbers of those names in the next answer; empty if there is no valid answer.

        A missing or invalid answer is a failure of the version and ends its process: the others must not be timed next
        to a process that is out of control.
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
    """Return the numbers of those names, one or several each.

    Raises:
        ModelProcessError: the answer reports a failure of the model, or contains a value that is not a positive number.
    """
    if "failure" in answer:
        raise ModelProcessError(failure_text(answer["failure"]))
    readers = {name: numbers if name == "peak_bytes" else seconds for name in names}
    return {name: readers[name](answer.get(name), name) for name in names}


@dataclass
class Benchmark:
    """A running benchmark.

    Args:
        options: the batch sizes, the duration and the confidence level.
        versions: the versions to measure.
        columns: the features, repeated as often as needed.
        limits: the limits of each model's process.
        blob_path: maps the SHA-256 of a file to the path of its verified content.
        names: the columns of the reference of each version that has one, in their order.
        order: the random numbers that shuffle the turns.
    """

    options: BenchmarkOptions
    versions: Sequence[ModelVersion]
    columns: Columns
    limits: Limits
    blob_path: Callable[[str], Path]
    names: Mapping[VersionRef, Sequence[str]] = field(default_factory=dict)
    order: random.Random = field(default_factory=random.Random)

    async def run(self) -> list[ModelBenchmark]:
        """Run the benchmark; if it is cancelled, the processes are ended.

        Raises:
            FormatNotExecutable: the server does not run a version's format.
            ModelFailed: no version answered.
        """
        files = {version.ref: main_file(version, self.limits.allow_pickle) for version in self.versions}
        columns = await asyncio.to_thread(_repeated, self.columns, max(self.options.batch_rows))
        async with AsyncExitStack() as stack:
            timings = [
                await stack.enter_async_context(self._started(version, files[version.ref].sha256, columns))
                for version in self.versions
            ]
            for rows in self.options.batch_rows:
                await self._measure([one for one in timings if not one.failure], rows)
        if all(one.failure for one in timings):
            raise ModelFailed("no version answered: " + "; ".join(f"{one.version} {one.failure}" for one in timings))
        sizes = {version.ref: sum(file.size_bytes for file in version.files) for version in self.versions}
        return [self._summary(one, sizes) for one in timings]

    @asynccontextmanager
    async def _started(self, version: ModelVersion, sha256: str, columns: Columns) -> Any:
        with job_folder() as folder:
            seconds = self.limits.seconds + self.options.seconds * len(self.options.batch_rows)
            model = await asyncio.to_thread(self.blob_path, sha256)
            names = self.names.get(version.ref, ())
            await asyncio.to_thread(write_job, folder, version, model, columns, self.limits, seconds, names)
            async with start_process(version.format, "time", folder) as process:
                timing = VersionTiming(version, process, self.limits, {rows: [] for rows in self.options.batch_rows})
                await timing.begin()
                yield timing

    async def _measure(self, timings: list[VersionTiming], rows: int) -> None:
        """Time the versions in turns until each has run for the requested duration."""
        turns = max(1, round(self.options.seconds / TURN_SECONDS))
        spent = dict.fromkeys(range(len(timings)), 0.0)
        for _ in range(turns):
            due = [i for i, one in enumerate(timings) if not one.failure and spent[i] < self.options.seconds]
            for i in self.order.sample(due, len(due)):
                await timings[i].ask(rows)
                spent[i] = sum(timings[i].times[rows])

    def _summary(self, timing: VersionTiming, sizes: Mapping[VersionRef, int]) -> ModelBenchmark:
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
        estimates = (quantile(times, share, self.options.level) for share in (0.5, 0.95, 0.99))
        p50, p95, p99 = (DurationEstimate(one.value, one.low, one.high) for one in estimates)
        return BatchBenchmark(rows, len(times), p50, p95, p99, rows * len(times) / sum(times))


def _repeated(columns: Columns, rows: int) -> Columns:
    """Repeat the rows until there are at least that many."""
    return {name: np.resize(values, max(rows, len(values))) for name, values in columns.items()}

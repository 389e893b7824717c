"""Benchmarks of models through both clients: good ones and ones that go wild, and the quantiles they are told in."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from modelward import AsyncClient, errors
from modelward_server.comparison.benchmark import VersionTiming, read_numbers
from modelward_server.sandbox.answers import ModelProcessError
from modelward_server.sandbox.sandbox import Limits, write_job
from modelward_server.sandbox.sandbox_process import start_process
from modelward_server.sandbox.scratch import job_folder
from modelward_server.settings import Settings
from modelward_server.statistics.quantiles import quantile
from tests.support.clients import as_async
from tests.support.comparison_models import SKOPS, crashing, endless, features, labels, saved
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Runs models in processes.

DATA = features(50, 2)


def quick() -> LogisticRegression:
    return LogisticRegression().fit(np.column_stack(list(DATA.values())), labels(DATA))


def slow() -> RandomForestClassifier:
    return RandomForestClassifier(100, random_state=0).fit(np.column_stack(list(DATA.values())), labels(DATA))


async def test_versions_are_timed_in_turns_and_the_quicker_one_is_seen(client: AsyncClient, name: str) -> None:
    for model in (quick(), slow()):
        await client.register(name, model)
    first, second = await client.benchmark([f"{name}/1", f"{name}/2"], DATA, batch_rows=(1, 200), seconds=0.5)
    assert (str(first.version), str(second.version)) == (f"{name}/1", f"{name}/2")
    for found in (first, second):
        assert not found.failure
        assert found.load_seconds > 0
        assert found.peak_memory_bytes > 20 << 20
        for batch in found.batches:
            assert batch.p50.low <= batch.p50.value <= batch.p50.high
            assert batch.p50.value <= batch.p95.value <= batch.p99.value
    assert second.size_bytes > first.size_bytes
    assert second[1].p50.low > first[1].p50.high
    assert first[200].rows_per_second > first[1].rows_per_second
    with pytest.raises(KeyError):
        first[7]


@pytest.fixture
async def strict(server: RunningServer, tmp_path: Path) -> AsyncIterator[AsyncClient]:
    """A client of a server whose models may take eight seconds."""
    from modelward_server.app import App

    app = App(Settings(data_dir=tmp_path, port=0, sandbox_seconds=8))
    port = await app.start()
    async with AsyncClient(f"127.0.0.1:{port}") as client:
        yield as_async(client)
    await app.stop()


@pytest.mark.system  # Waits for a model that hangs.
@pytest.mark.weekly
async def test_a_model_that_goes_wild_is_its_own_row(strict: AsyncClient, name: str) -> None:
    for model in (quick(), endless(), crashing()):
        await strict.register(name, model)
    fine, hung, crashed = await strict.benchmark([f"{name}/{n}" for n in (1, 2, 3)], DATA, batch_rows=[1], seconds=0.2)
    assert not fine.failure
    assert fine[1].calls > 0
    assert hung.failure == "was stopped after 8 s, the time limit"
    assert hung.batches == ()
    assert "SIGSEGV" in crashed.failure
    with pytest.raises(errors.ModelFailed, match="no version answered"):
        await strict.benchmark([f"{name}/3"], DATA, seconds=0.2)


async def test_what_cannot_be_timed_is_named(client: AsyncClient, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    await client.register(name, tmp_path / "model.bin")
    with pytest.raises(errors.FormatNotExecutable):
        await client.benchmark([f"{name}/1"], DATA)
    with pytest.raises(errors.VersionNotFound):
        await client.benchmark([f"{name}/2"], DATA)
    with pytest.raises(errors.InvalidField, match="batch_rows"):
        await client.benchmark([f"{name}/1"], DATA, batch_rows=[0])


def test_quantiles_hold_the_true_one_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        found = quantile(random.exponential(size=300).tolist(), 0.95, 0.9)
        held += found.low <= -np.log(0.05) <= found.high
    assert 0.87 <= held / 400 <= 0.96


def test_few_times_end_at_the_least_and_the_greatest() -> None:
    assert quantile([3.0], 0.99, 0.95).value == 3.0
    found = quantile([1.0, 2.0, 3.0], 0.5, 0.95)
    assert (found.low, found.value, found.high) == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"times": ["x"], "peak_bytes": 1},
        {"times": 5, "peak_bytes": "much"},
        {"times": [], "peak_bytes": 1},
        {"times": [float("nan")], "peak_bytes": 1},
        {"times": [0.1, -1.0], "peak_bytes": 1},
        {"times": [True], "peak_bytes": 1},
        {"times": [0.1], "peak_bytes": float("inf")},
        {"times": [10**400], "peak_bytes": 1},
        {"times": [0.1], "peak_bytes": 10**400},
    ],
)
def test_what_is_no_time_is_not_taken_for_one(answer: dict[str, object]) -> None:
    with pytest.raises(ModelProcessError, match="not positive numbers"):
        read_numbers(answer, ("times", "peak_bytes"))
    found = read_numbers({"times": [0.1, 2], "peak_bytes": 3}, ("times", "peak_bytes"))
    assert found == {"times": [0.1, 2.0], "peak_bytes": [3.0]}


async def test_a_version_that_hangs_is_ended_before_the_others_are_timed(tmp_path: Path) -> None:
    limits = Limits(seconds=3, memory_mb=512)
    with job_folder() as folder:
        write_job(folder, SKOPS, saved(endless(), tmp_path), DATA, limits, 30)
        async with start_process("skops", "time", folder) as process:
            timing = VersionTiming(SKOPS, process, limits, {1: []})
            await timing.begin()
            assert timing.failure == "was stopped after 3 s, the time limit"
            assert await asyncio.wait_for(process.ended(), PATIENCE_SECONDS) == -signal.SIGKILL

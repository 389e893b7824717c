"""Processes that keep models loaded: they fail alone, they are shared, and there is room for so many."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from modelward import AsyncClient, errors
from modelward_server.sandbox.fork_server import LOWER_PRIORITY
from modelward_server.sandbox.warm_model import LoadedModel
from modelward_server.scoring.slot import Slot
from modelward_server.settings import Settings
from tests.support import obedient_models as told
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.system  # Takes seconds.


@pytest.fixture(scope="module")
def scoring_settings() -> dict[str, object]:
    return {"sandbox_seconds": 15}


REFERENCE = pd.DataFrame({"order": np.zeros(50), "value": np.arange(50.0)})
FAILURES = {
    told.RAISE: "raised ValueError: as it was told",
    told.EXIT: "ended its process with status 7",
    told.HANG: "was stopped after 15 s",
    told.ALLOCATE: "memory",
    told.NONSENSE: "one number per row|of shape",
    told.HUGE: "predicted infinity or more than",
    told.FORGE: "answered with",
    told.FLOOD: "answered with more than",
}


def rows(order: int, size: int = 3) -> pd.DataFrame:
    return pd.DataFrame({"order": float(order), "value": np.arange(float(size))})


async def obedient(scorer: AsyncClient, folder: Path, load_seconds: float = 0.0) -> str:
    name = f"spx-{uuid4().hex[:8]}"
    version = await scorer.register(name, told.obedient_model(folder, load_seconds), reference=REFERENCE)
    await scorer.promote(version, to="staging")
    await scorer.promote(version, to="production", reason="it passed its tests")
    return name


async def linear(scorer: AsyncClient, slope: float, name: str = "") -> str:
    name = name or f"spx-{uuid4().hex[:8]}"
    model = LinearRegression().fit(REFERENCE, slope * REFERENCE.value)
    version = await scorer.register(name, model, reference=REFERENCE)
    await scorer.promote(version, to="staging")
    await scorer.promote(version, to="production", reason="it passed its tests")
    return name


@pytest.mark.parametrize("order", FAILURES)
async def test_a_call_that_fails_affects_no_other(scorer: AsyncClient, folder: Path, order: int) -> None:
    name = await obedient(scorer, folder)
    assert (await scorer.score(name, rows(told.ANSWER))).predictions.tolist() == [0.0, 1.0, 2.0]
    calls = [scorer.score(name, rows(one)) for one in (told.ANSWER, order, told.ANSWER, told.ANSWER)]
    first, failed, *others = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(failed, errors.ModelFailed)
    with pytest.raises(errors.ModelFailed, match=FAILURES[order]):
        raise failed
    for one in (first, *others):
        assert not isinstance(one, BaseException), one
        assert one.predictions.tolist() == [0.0, 1.0, 2.0]


async def test_a_call_that_overruns_its_deadline_ends_its_process(scorer: AsyncClient, folder: Path) -> None:
    name = await obedient(scorer, folder)
    await scorer.score(name, rows(told.ANSWER))
    with pytest.raises((errors.DeadlineExceeded, errors.ModelFailed)):
        await scorer.score(name, rows(told.HANG), timeout=1.0)
    assert (await scorer.score(name, rows(told.ANSWER), timeout=60.0)).predictions.tolist() == [0.0, 1.0, 2.0]


async def test_calls_that_are_given_up_leave_the_process_to_others(scorer: AsyncClient, folder: Path) -> None:
    name = await obedient(scorer, folder)
    await scorer.score(name, rows(told.ANSWER))
    given_up = [asyncio.create_task(scorer.score(name, rows(told.ANSWER, 1000))) for _ in range(20)]
    await asyncio.sleep(0.01)
    for one in given_up[::2]:
        one.cancel()
    ended = await asyncio.gather(*given_up, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) or len(one.predictions) == 1000 for one in ended)  # type: ignore[union-attr]
    assert (await scorer.score(name, rows(told.ANSWER))).predictions.tolist() == [0.0, 1.0, 2.0]


async def test_the_rows_that_fail_are_sought_for_a_limited_time(tmp_path: Path) -> None:
    """A stream has no deadline, and each of a thousand tries may take as long as a model may run."""
    limits = {"sandbox_seconds": 10.0, "call_seconds": 15.0, "scoring_processes": 4, "allow_pickle": True}
    running = RunningServer(Settings.model_validate({"port": 0, "data_dir": tmp_path / "data", **limits}))
    async with AsyncClient(running.target, timeout=PATIENCE_SECONDS) as client:
        name = await obedient(client, tmp_path)
        await client.score(name, rows(told.ANSWER))
        begin = time.monotonic()
        with pytest.raises((errors.DeadlineExceeded, errors.LimitReached)):
            async for _ in client.score_stream(name, [rows(told.HANG, 64)], row_errors=True):
                pass
        assert time.monotonic() - begin < 60  # All tries together would take 1,270 s.
        assert (await client.score(name, rows(told.ANSWER))).predictions.tolist() == [0.0, 1.0, 2.0]
    running.stop()


async def test_calls_that_are_gone_take_no_place_from_others() -> None:
    model: Any = SimpleNamespace(key="a model")
    slot = Slot(model)
    calls = [asyncio.create_task(slot.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    calls[1].cancel()
    await asyncio.wait({calls[1]})
    assert len(slot.waiting) == 2
    process: Any = object()
    slot.give(process)
    calls[0].cancel()  # At the moment in which it is given the process.
    assert await calls[2] is process


async def test_a_model_is_loaded_although_whoever_wanted_it_has_gone(
    scorer: AsyncClient, scoring_server: RunningServer
) -> None:
    name = await linear(scorer, 2.0)
    pool = scoring_server.app.scoring
    assert pool is not None
    before = pool.processes
    impatient = asyncio.create_task(scorer.score(name, rows(0)))
    await asyncio.to_thread(eventually, lambda: pool.processes > before)
    impatient.cancel()
    memory = pool.memory_bytes
    await asyncio.to_thread(eventually, lambda: pool.memory_bytes > memory)
    assert len((await scorer.score(name, rows(0))).predictions) == 3


async def test_calls_that_come_while_a_model_loads_wait_for_that_process(
    scorer: AsyncClient, scoring_server: RunningServer, folder: Path
) -> None:
    name = await obedient(scorer, folder, load_seconds=5)
    pool = scoring_server.app.scoring
    assert pool is not None
    before = pool.processes
    answers = await asyncio.gather(*(scorer.score(name, rows(told.ANSWER)) for _ in range(8)))
    assert [one.predictions.tolist() for one in answers] == 8 * [[0.0, 1.0, 2.0]]
    assert pool.processes <= before + 1


async def test_processes_that_are_killed_are_replaced(scorer: AsyncClient, scoring_server: RunningServer) -> None:
    name = await linear(scorer, 2.0)
    for _ in range(5):
        await scorer.score(name, rows(0))
        processes = _model_processes()
        assert processes
        for process in processes:
            os.kill(process, signal.SIGKILL)
        answers = await asyncio.gather(*(scorer.score(name, rows(0)) for _ in range(4)), return_exceptions=True)
        for one in answers:
            if isinstance(one, BaseException):
                assert isinstance(one, errors.ModelFailed), one
            else:
                np.testing.assert_allclose(one.predictions, [0.0, 2.0, 4.0], atol=1e-9)


async def test_a_process_that_was_killed_while_idle_costs_no_call(scorer: AsyncClient) -> None:
    name = await linear(scorer, 2.0)
    for _ in range(3):
        await scorer.score(name, rows(0))
        for process in _model_processes():
            os.kill(process, signal.SIGKILL)
        await asyncio.sleep(0.5)
        np.testing.assert_allclose((await scorer.score(name, rows(0))).predictions, [0.0, 2.0, 4.0], atol=1e-9)


async def test_numbers_that_are_too_large_cost_no_process(scorer: AsyncClient, folder: Path) -> None:
    name = await obedient(scorer, folder)
    await scorer.score(name, rows(told.ANSWER))
    before = _model_processes()
    for _ in range(3):
        with pytest.raises(errors.ModelFailed, match="predicted infinity"):
            await scorer.score(name, rows(told.HUGE))
    assert set(before) <= set(_model_processes())


async def test_comparisons_take_no_time_from_what_scores(scorer: AsyncClient, folder: Path) -> None:
    name, own = await obedient(scorer, folder), os.getpriority(os.PRIO_PROCESS, 0)
    assert (await scorer.score(name, rows(told.PRIORITY))).predictions.tolist() == [own] * 3
    lower = np.full(50, min(own + LOWER_PRIORITY, 19.0))
    await scorer.register(name, folder / "model.pkl", reference=REFERENCE)
    versions = [f"{name}/1", f"{name}/2"]
    compared = await scorer.compare(versions, rows(told.PRIORITY, 50), lower, metrics=["mae"])
    assert [one["mae"] for one in compared.results] == [0, 0], "the model predicts the nice value of its process"


async def test_versions_with_the_same_files_are_named_as_they_were_asked(scorer: AsyncClient, folder: Path) -> None:
    first, second = await obedient(scorer, folder), await obedient(scorer, folder)
    await scorer.score(first, rows(told.ANSWER))
    before = len(_model_processes())
    for order in (told.RAISE, told.HUGE, told.NONSENSE, told.EXIT):
        for name in (first, second):
            with pytest.raises(errors.ModelFailed, match=f"^{name}/1 ") as failed:
                await scorer.score(name, rows(order))
            assert failed.value.metadata["model"] == name
    with pytest.raises(errors.InvalidField, match=f"{second}/1"):
        await scorer.score(second, rows(told.ANSWER)[["value"]])
    assert len(_model_processes()) <= before, "they share one process"


async def test_slow_calls_refuse_no_quick_ones(scorer: AsyncClient, folder: Path) -> None:
    name = await obedient(scorer, folder)
    for _ in range(2):
        await scorer.score(name, rows(told.SLOW, 400))
    for _ in range(3):
        assert len((await scorer.score(name, rows(told.ANSWER, 1), timeout=1.3)).predictions) == 1
    with pytest.raises((errors.LimitReached, errors.DeadlineExceeded), match=r"would answer in about|Deadline"):
        await scorer.score(name, rows(told.SLOW, 400), timeout=0.5)


def test_what_a_call_needs_is_known_from_the_last_ones_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    slot = Slot(cast(LoadedModel, SimpleNamespace(key="k")))
    for _ in range(30):
        slot.note_call(time.monotonic() - 8.0, 1_000_000)
    assert slot.expected_seconds(1) < 0.01
    assert 7.9 < slot.expected_seconds(1_000_000) < 8.1
    assert slot.expected_seconds(2_000_000) == slot.expected_seconds(1_000_000), "nobody knows what more rows need"
    later = time.monotonic() + 11.0
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert slot.expected_seconds(1_000_000) == 0.0


def _model_processes() -> list[int]:
    """Return this process's descendants without children among those that the fork servers have forked."""
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,args="], text=True, capture_output=True, check=True).stdout
    lines = [line.split(None, 2) for line in listed.splitlines()]
    parents = {int(pid): int(parent) for pid, parent, _ in lines}
    forked = {int(pid) for pid, _, args in lines if "sandbox.fork_server" in args and "bwrap" not in args}
    models = {pid for pid in forked if parents.get(parents[pid]) in forked and pid not in parents.values()}
    return [pid for pid in models if os.getpid() in _ancestors(pid, parents)]


def _ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid := parents.get(pid, 0):
        yield pid


async def test_there_is_room_for_so_many_models(tmp_path: Path) -> None:
    settings = Settings(port=0, data_dir=tmp_path / "data", scoring_processes=2)
    running = await asyncio.to_thread(RunningServer, settings)
    async with AsyncClient(running.target) as scorer:
        first, second = await linear(scorer, 1.0), await linear(scorer, 2.0)
        other = await scorer.register(first, LinearRegression().fit(REFERENCE, 5 * REFERENCE.value))
        for _ in range(3):
            for name, version, slope in ((first, None, 1.0), (first, other.version, 5.0)):
                found = await scorer.score(name, rows(0), version=version)
                np.testing.assert_allclose(found.predictions, slope * np.arange(3), atol=1e-9)
        await scorer.score(second, rows(0))  # In place of the version that is not in production.
        refused = (errors.LimitReached, errors.DeadlineExceeded)  # The client tries again as long as it may.
        with pytest.raises(refused, match="there is no room to load"):
            await scorer.score(first, rows(0), version=other.version, timeout=5)
        third = await linear(scorer, 3.0)
        np.testing.assert_allclose((await scorer.score(third, rows(0))).predictions, 3 * np.arange(3), atol=1e-9)
    await asyncio.to_thread(running.stop)


@pytest.mark.weekly("sqlite")
async def test_what_enters_staging_is_loaded_by_every_server_that_scores_its_model(
    tmp_path: Path, database_url: str
) -> None:
    shared = {"port": 0, "data_dir": tmp_path / "data", "database_url": database_url}
    given = Settings.model_validate({**shared, "scoring_processes": 4})
    promoting = await asyncio.to_thread(RunningServer, given)
    scoring = await asyncio.to_thread(RunningServer, given)
    async with AsyncClient(promoting.target) as operator, AsyncClient(scoring.target) as scorer:
        name = await linear(operator, 1.0)
        await scorer.score(name, rows(0))
        idle, busy = promoting.app.scoring, scoring.app.scoring
        assert idle is not None
        assert busy is not None
        before = busy.memory_bytes
        second = await operator.register(name, LinearRegression().fit(REFERENCE, 2 * REFERENCE.value))
        await operator.promote(second, to="staging")
        await asyncio.to_thread(eventually, lambda: busy.memory_bytes > before)
        assert (idle.processes, busy.processes) == (0, 2), "no call has asked the first one for the model"
    await asyncio.to_thread(scoring.stop)
    await asyncio.to_thread(promoting.stop)


async def test_memory_is_bounded_for_all_models_together(tmp_path: Path) -> None:
    settings = Settings(port=0, data_dir=tmp_path / "data", scoring_processes=8, scoring_memory_mb=64)
    running = await asyncio.to_thread(RunningServer, settings)
    async with AsyncClient(running.target) as scorer:
        large = LinearRegression().fit(REFERENCE, REFERENCE.value)
        large.more_ = RNG.normal(size=10_000_000)
        version = await scorer.register("large", large)
        refused = (errors.LimitReached, errors.DeadlineExceeded)  # The client tries again as long as it may.
        with pytest.raises(refused, match="MODELWARD_SCORING_MEMORY_MB"):
            await scorer.score("large", rows(0), version=version.version, timeout=20)
        name = await linear(scorer, 2.0)
        assert len((await scorer.score(name, rows(0))).predictions) == 3
    await asyncio.to_thread(running.stop)


async def test_a_model_that_grows_takes_the_room_of_others(tmp_path: Path) -> None:
    given = {"scoring_processes": 8, "scoring_memory_mb": 400, "allow_pickle": True}
    settings = Settings.model_validate({"port": 0, "data_dir": tmp_path / "data", **given})
    running = await asyncio.to_thread(RunningServer, settings)
    async with AsyncClient(running.target) as scorer:
        for name, load_seconds in (("small", 0.0), ("growing", 0.01)):  # So that their files differ.
            await scorer.register(name, told.obedient_model(tmp_path, load_seconds), reference=REFERENCE)
            await scorer.score(name, rows(told.ANSWER), version=1)
        pool = running.app.scoring
        assert pool is not None
        assert pool.processes == 2
        await scorer.score("growing", rows(told.GROW), version=1)
        await asyncio.to_thread(eventually, lambda: pool.processes == 1)
    await asyncio.to_thread(running.stop)


RNG = np.random.default_rng(3)

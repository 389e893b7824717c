"""Following a model: swapped when it changes, kept when the server is away, refused when it is halted or stale."""

import asyncio
import pickle
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier

from modelward import AsyncClient, Client, ModelVersion, PromotionPolicy, RolloutState, errors
from modelward._sync.followed import FollowedModel
from modelward_server.settings import Settings
from tests.support.running_server import RunningServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.system  # Waits for versions to be swapped.


def _model(answer: int) -> DummyClassifier:
    return DummyClassifier(strategy="constant", constant=answer).fit([[0], [0]], [0, 1])


def _promote(client: Client, name: str, model: Any) -> None:
    version = client.register(name, model)
    if version.format == "pickle":  # The server may not run it, so it cannot be tried.
        client.set_promotion_policy(PromotionPolicy(name, disabled_gates=("usable",)))
    client.promote(version, to="staging")
    client.promote(version, to="production", reason="it passed its tests")


def _answer(live: FollowedModel) -> int:
    return int(live.current.model.predict(np.zeros((1, 1)))[0])


def _size(version: ModelVersion, folder: Path) -> int:
    return (folder / version.files[0].path).stat().st_size


def _raises(live: FollowedModel, kind: type[Exception]) -> bool:
    try:
        live.current  # noqa: B018 - reading it is the question
    except kind:
        return True
    except errors.ModelwardError:
        return False
    return False


def test_follower_swaps_to_the_version_that_is_promoted(server: RunningServer, name: str, tmp_path: Path) -> None:
    with Client(server.target) as client:
        _promote(client, name, _model(0))
        with client.follow(name, cache=tmp_path, engine="ny4-01") as live:
            first = live.current
            assert _answer(live) == 0
            _promote(client, name, _model(1))
            eventually(lambda: live.current.version.version == 2)
            assert _answer(live) == 1
            assert first.model.predict(np.zeros((1, 1)))[0] == 0
            eventually(lambda: client.get_rollout(name).engines[0].version == 2)
            [engine] = client.get_rollout(name).engines
            assert (engine.engine, engine.state) == ("ny4-01", RolloutState.CONVERGED)
            client.rollback(name, reason="it lost money")
            eventually(lambda: _answer(live) == 0)


async def test_async_follower_swaps_too(server: RunningServer, name: str, tmp_path: Path) -> None:
    async with AsyncClient(server.target) as client:
        with Client(server.target) as other:
            await asyncio.to_thread(_promote, other, name, _model(0))
            async with client.follow(name, cache=tmp_path) as live:
                assert live.current.version.version == 1
                await asyncio.to_thread(_promote, other, name, _model(1))
                await asyncio.to_thread(eventually, lambda: live.current.version.version == 2)
                assert live.current.model.predict(np.zeros((1, 1)))[0] == 1


def test_halt_is_seen_at_once_and_so_is_its_end(server: RunningServer, name: str, tmp_path: Path) -> None:
    with Client(server.target) as client:
        _promote(client, name, _model(0))
        with client.follow(name, cache=tmp_path) as live:
            client.halt(name, reason="prices are wrong")
            eventually(lambda: _raises(live, errors.ModelHalted))
            with pytest.raises(errors.ModelHalted, match="prices are wrong"):
                _ = live.current
            client.resume(name)
            eventually(lambda: not _raises(live, errors.ModelHalted))
            assert _answer(live) == 0


def test_archiving_what_is_followed_leaves_nothing_to_use(server: RunningServer, name: str, tmp_path: Path) -> None:
    with Client(server.target) as client:
        _promote(client, name, _model(0))
        with client.follow(name, cache=tmp_path) as live:
            client.promote(f"{name}/1", to="archived")
            eventually(lambda: _raises(live, errors.NothingResolved))


def test_file_of_another_format_is_followed_as_files(server: RunningServer, name: str, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"weights")
    with Client(server.target) as client:
        _promote(client, name, tmp_path / "weights.bin")
        with client.follow(name, cache=tmp_path / "cache") as live:
            assert live.current.model is None
            assert (live.current.folder / "weights.bin").read_bytes() == b"weights"
        with client.follow(name, cache=tmp_path / "cache", load=_size) as live:
            assert live.current.model == 7


def test_pickle_is_followed_as_a_model_where_that_is_allowed(server: RunningServer, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps("model"))
    with Client(server.target) as client:
        _promote(client, name, tmp_path / "model.pkl")
        with (
            pytest.raises(errors.FormatNotExecutable, match="allow_pickle=True"),
            client.follow(name, cache=tmp_path / "cache"),
        ):
            pass
        with client.follow(name, cache=tmp_path / "cache", allow_pickle=True) as live:
            assert live.current.model.raw == "model"


def _converged(client: Client, name: str) -> bool:
    return [engine.state for engine in client.get_rollout(name).engines] == [RolloutState.CONVERGED]


def test_a_version_that_cannot_be_loaded_never_replaces_one_that_works(
    server: RunningServer, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "weights.bin").write_bytes(b"weights")
    swaps: list[int] = []
    failures: list[tuple[int, Exception]] = []
    with Client(server.target) as client:
        _promote(client, name, _model(0))
        with client.follow(
            name,
            cache=tmp_path / "cache",
            engine="ny4-01",
            on_swap=lambda followed: swaps.append(followed.version.version),
            on_failure=lambda version, error: failures.append((version.version, error)),
        ) as live:
            assert live.error is None
            _promote(client, name, tmp_path / "weights.bin")
            eventually(lambda: client.get_rollout(name).engines[0].state is RolloutState.FAILED)
            [engine] = client.get_rollout(name).engines
            assert (engine.version, engine.failure and engine.failure.version) == (1, 2)
            assert engine.failure
            assert "not loaded here" in engine.failure.reason
            assert isinstance(live.error, errors.FormatNotExecutable)
            assert (_answer(live), live.current.version.version) == (0, 1)
            time.sleep(2)  # In which it tries again.
            assert [number for number, _ in failures] == [2]
            assert len([record for record in caplog.records if "could not be loaded" in record.message]) == 1
            _promote(client, name, _model(1))
            eventually(lambda: live.current.version.version == 3 and _converged(client, name))
            assert (live.error, _answer(live), swaps) == (None, 1, [1, 3])
            [engine] = client.get_rollout(name).engines
            assert engine.failure is None


def test_a_version_that_fails_to_load_at_first_is_tried_again_until_it_loads(
    server: RunningServer, name: str, tmp_path: Path
) -> None:
    attempts: list[int] = []

    def load(version: ModelVersion, folder: Path) -> str:
        attempts.append(version.version)
        if attempts.count(2) in (1, 2):
            raise ImportError("not yet installed")
        return f"model {version.version}"

    with Client(server.target) as client:
        _promote(client, name, _model(0))
        with client.follow(name, cache=tmp_path, load=load) as live:
            _promote(client, name, _model(1))
            eventually(lambda: isinstance(live.error, ImportError))
            client.log_metrics(f"{name}/2", {"accuracy": 0.5})  # An event is no reason to try earlier.
            assert live.current.model == "model 1"
            eventually(lambda: live.current.model == "model 2")
            assert (live.error, attempts) == (None, [1, 2, 2, 2])


def test_rolling_back_what_cannot_be_loaded_ends_the_failure(server: RunningServer, name: str, tmp_path: Path) -> None:
    def load(version: ModelVersion, folder: Path) -> str:
        if version.version == 2:
            raise RuntimeError("broken weights")
        return "model"

    with Client(server.target) as client:
        _promote(client, name, _model(0))
        with client.follow(name, cache=tmp_path, load=load, engine="ny4-01") as live:
            _promote(client, name, _model(1))
            eventually(lambda: isinstance(live.error, RuntimeError))
            client.rollback(name, reason="it lost money")
            eventually(lambda: live.error is None and _converged(client, name))
            assert live.current.version.version == 1


def test_an_engine_that_restarts_uses_the_last_version_that_it_could_load(
    server: RunningServer, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps("model"))
    cache = tmp_path / "cache"
    with Client(server.target) as client:
        _promote(client, name, _model(0))
        with client.follow(name, cache=cache):
            pass
        _promote(client, name, tmp_path / "model.pkl")
        with client.follow(name, cache=cache) as live:
            assert (_answer(live), live.current.version.version) == (0, 1)
            assert isinstance(live.error, errors.FormatNotExecutable)
            client.halt(name, reason="prices are wrong")
            eventually(lambda: _raises(live, errors.ModelHalted))
            client.resume(name)  # What was used before a halt is not used after it.
            eventually(lambda: _raises(live, errors.FormatNotExecutable))
        with pytest.raises(errors.FormatNotExecutable), client.follow(name, cache=cache):
            pass


async def test_an_async_follower_keeps_what_works_too(server: RunningServer, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(pickle.dumps("model"))
    async with AsyncClient(server.target) as client:
        with Client(server.target) as other:
            await asyncio.to_thread(_promote, other, name, _model(0))
            async with client.follow(name, cache=tmp_path / "cache") as live:
                await asyncio.to_thread(_promote, other, name, tmp_path / "model.pkl")
                await asyncio.to_thread(eventually, lambda: live.error is not None)
                assert live.current.version.version == 1
                await asyncio.to_thread(_promote, other, name, _model(1))
                await asyncio.to_thread(eventually, lambda: live.current.version.version == 3)
                assert live.error is None


def _weights(client: Client, folder: Path, name: str, version: int) -> None:
    (folder / "weights.bin").write_text(f"weights {version} of {name}")
    _promote(client, name, folder / "weights.bin")


def _read(version: ModelVersion, folder: Path) -> str:
    if version.version == 2 and version.model.endswith("-1"):
        raise ImportError("no library for version 2")
    return (folder / version.files[0].path).read_text()


@pytest.mark.system  # Takes seconds.
def test_many_models_are_followed_on_one_connection_by_a_handful_of_threads(
    server: RunningServer, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"{name}-{number}" for number in range(7)]
    with Client(server.target) as client:
        for one in names:
            _weights(client, tmp_path, one, 1)
        with client.follow_many(names, cache=tmp_path / "cache", load=_read, engine="ny4-01") as live:
            assert {one: live[one].current.model for one in live} == {one: f"weights 1 of {one}" for one in names}
            assert sum(thread.name.startswith("modelward-follow") for thread in threading.enumerate()) <= 6
            for one in names[:4]:
                _weights(client, tmp_path, one, 2)
            eventually(lambda: [live[one].current.version.version for one in names] == [2, 1, 2, 2, 1, 1, 1])
            eventually(lambda: isinstance(live[names[1]].error, ImportError))
            eventually(lambda: client.get_rollout(names[1]).engines[0].state is RolloutState.FAILED)
            eventually(lambda: _converged(client, names[3]))
            assert [one for one in names if live[one].error] == [names[1]]
            _weights(client, tmp_path, names[1], 3)
            eventually(lambda: live[names[1]].current.version.version == 3 and live[names[1]].error is None)
            client.halt(names[0], reason="prices are wrong")
            eventually(lambda: _raises(live[names[0]], errors.ModelHalted))
            assert live[names[2]].current.version.version == 2
        assert len([record for record in caplog.records if "could not be loaded" in record.message]) == 1
        with pytest.raises(errors.ModelNotFound), client.follow_many([*names, f"{name}-9"], cache=tmp_path / "cache"):
            pass
        with pytest.raises(errors.InvalidField, match="not both"):
            client.follow_many(names, prefix=name)


def test_a_prefix_follows_models_that_are_created_later_too(server: RunningServer, name: str, tmp_path: Path) -> None:
    with Client(server.target) as client:
        with client.follow_many(prefix=f"{name}-", cache=tmp_path / "cache", load=_read) as live:
            assert list(live) == []
            _weights(client, tmp_path, f"{name}-3", 1)
            _weights(client, tmp_path, name, 1)
            eventually(lambda: len(live) == 1 and not _raises(live[f"{name}-3"], errors.NothingResolved))
            assert live[f"{name}-3"].current.model == f"weights 1 of {name}-3"
        with client.follow_many(prefix=name, cache=tmp_path / "cache", load=_read) as live:
            assert list(live) == [name, f"{name}-3"]


async def test_many_models_are_followed_on_an_event_loop_too(server: RunningServer, name: str, tmp_path: Path) -> None:
    names = [f"{name}-{number}" for number in range(2)]
    async with AsyncClient(server.target) as client:
        with Client(server.target) as other:
            for one in names:
                await asyncio.to_thread(_weights, other, tmp_path, one, 1)
            async with client.follow_many(names, cache=tmp_path / "cache", load=_read) as live:
                for one in names:
                    await asyncio.to_thread(_weights, other, tmp_path, one, 2)
                await asyncio.to_thread(eventually, lambda: live[names[0]].current.version.version == 2)
                await asyncio.to_thread(eventually, lambda: live[names[1]].error is not None)
                assert live[names[0]].error is None


@pytest.mark.system  # It starts servers, and waits for their absence to be noticed.
def test_many_models_keep_working_while_the_server_is_away(tmp_path: Path) -> None:
    settings = Settings(port=0, data_dir=tmp_path / "data")
    running = RunningServer(settings)
    again = settings.model_copy(update={"port": int(running.target.rpartition(":")[2])})
    cache = tmp_path / "cache"
    with Client(running.target) as patient, Client(running.target, timeout=1) as client:
        for one in ("a-0", "a-1"):
            _weights(patient, tmp_path, one, 1)
        patient.create_model("a-2")
        with client.follow_many(["a-0", "a-1"], cache=cache, load=_read) as live:
            running.stop()
            with client.follow_many(["a-0", "a-1", "a-2"], cache=cache, load=_read) as started:
                assert started["a-1"].current.model == live["a-1"].current.model == "weights 1 of a-1"
                assert _raises(started["a-2"], errors.Unavailable)
                running = RunningServer(again)
                with Client(running.target) as other:
                    _weights(other, tmp_path, "a-0", 2)
                    _weights(other, tmp_path, "a-2", 1)
                eventually(lambda: live["a-0"].current.version.version == 2)
                eventually(lambda: not _raises(started["a-2"], errors.Unavailable))
                eventually(lambda: not _raises(started["a-2"], errors.NothingResolved))
                assert started["a-2"].current.version.version == 1
        running.stop()


def test_following_what_does_not_exist_is_refused(server: RunningServer, name: str, tmp_path: Path) -> None:
    with Client(server.target) as client:
        with pytest.raises(errors.ModelNotFound), client.follow(name, cache=tmp_path):
            pass
        client.create_model(name)
        with client.follow(name, cache=tmp_path) as live, pytest.raises(errors.NothingResolved):
            _ = live.current


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_follow_with_the_former_name_of_max_staleness_warns_its_caller(
    kind: type[Client] | type[AsyncClient], tmp_path: Path
) -> None:
    with pytest.warns(DeprecationWarning, match="longest_staleness is deprecated; use max_staleness") as caught:
        kind("127.0.0.1:1").follow("spx", cache=tmp_path, longest_staleness=timedelta(seconds=1))
    assert caught[0].filename == __file__


@pytest.mark.system  # Takes seconds.
def test_engine_keeps_working_and_starts_while_the_server_is_away(tmp_path: Path) -> None:
    settings = Settings(port=0, data_dir=tmp_path / "data")
    running = RunningServer(settings)
    again = settings.model_copy(update={"port": int(running.target.rpartition(":")[2])})
    cache = tmp_path / "cache"
    with Client(running.target) as patient, Client(running.target, timeout=1) as client:
        _promote(patient, "spx", _model(0))
        with pytest.warns(DeprecationWarning, match="use max_staleness"):
            former = client.follow("spx", cache=cache, longest_staleness=timedelta(seconds=0.5))
        with (
            client.follow("spx", cache=cache) as live,
            client.follow("spx", cache=cache, max_staleness=timedelta(seconds=0.5)) as strict,
            former,
        ):
            running.stop()
            eventually(lambda: _raises(strict, errors.Unavailable) and _raises(former, errors.Unavailable))
            assert _answer(live) == 0
            with client.follow("spx", cache=cache) as started:
                assert _answer(started) == 0
            with (
                pytest.raises((errors.Unavailable, errors.DeadlineExceeded)),
                client.follow("spx", cache=tmp_path / "none"),
            ):
                pass
            running = RunningServer(again)
            with Client(running.target) as other:
                _promote(other, "spx", _model(1))
            eventually(lambda: _answer(live) == 1)
            eventually(lambda: not _raises(strict, errors.Unavailable) and _answer(strict) == 1)
    running.stop()


def test_cache_that_was_damaged_is_fetched_anew(server: RunningServer, name: str, tmp_path: Path) -> None:
    with Client(server.target) as client:
        _promote(client, name, _model(1))
        with client.follow(name, cache=tmp_path) as live:
            damaged = live.current.folder / "model.skops"
        damaged.write_bytes(b"not a model")
        with client.follow(name, cache=tmp_path) as live:
            assert _answer(live) == 1

"""One item of many that fails holds up no other, neither in background tasks nor in calls that handle many."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LinearRegression

from modelward import AtSession, Client, OnPerformance, RetrainingPolicy, TrialResult, errors
from modelward.retraining import FollowUpAction, FollowUpState
from modelward_server import exchange_sessions
from modelward_server.lifecycle import events, trial_task
from modelward_server.mlflow import mirror_task
from modelward_server.mlflow.mirror import MlflowMirror
from modelward_server.retraining import post_training, repository, schedule_evaluation, trading_sessions
from modelward_server.sandbox.trial import try_version
from modelward_server.settings import Settings
from modelward_server.storage import blobs
from modelward_server.storage.blobs import BlobStore
from modelward_server.webhooks import delivery
from modelward_server.webhooks.messages import message_of
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer
from tests.support.values import present
from tests.support.waiting import eventually
from tests.support.webhook_receiver import Receiver

pytestmark = [
    pytest.mark.system,
    pytest.mark.weekly("postgresql"),
]  # Each test starts a server, and waits for its background tasks.


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module", params=DATABASES)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, receiver: Receiver
) -> Iterator[RunningServer]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mirror_task, "MAX_PAUSE_SECONDS", 0.5)
        patched.setattr(mirror_task, "FIRST_PAUSE_SECONDS", 0.1)
        url = new_database(request.getfixturevalue("postgres")) if request.param == "postgresql" else ""
        running = RunningServer(
            Settings(
                port=0,
                data_dir=tmp_path_factory.mktemp("data"),
                database_url=url,
                schedule_seconds=0.1,
                webhooks=("http://127.0.0.1:9/nobody-listens", receiver.url),
                webhooks_private=True,
            )
        )
        yield running
        running.stop()


@pytest.fixture
def sdk(server: RunningServer) -> Iterator[Client]:
    with Client(server.target, actor="ada") as client:
        yield client


def register(sdk: Client, folder: Path, *models: str) -> None:
    (folder / "model.bin").write_bytes(b"weights")
    for model in models:
        sdk.register(model, folder / "model.bin", metrics={"accuracy": 0.6})


def make_due(sdk: Client, folder: Path, model: str) -> None:
    """Let a model perform so badly that its schedule fires."""
    register(sdk, folder, model)
    sdk.promote(f"{model}/1", to="staging")
    sdk.promote(f"{model}/1", to="production", reason="it passed its tests")
    sdk.create_schedule(model, performance=OnPerformance("accuracy", below=0.5))
    sdk.log_metrics(f"{model}/1", {"accuracy": 0.4})


@pytest.mark.parametrize("calendar", ["XTAE", "ASEX", "XBEL", "XBSE", "XCYS"])
def test_a_calendar_that_cannot_be_built_is_refused(sdk: Client, name: str, calendar: str) -> None:
    sdk.create_model(name)
    with pytest.raises(errors.InvalidField) as told:
        sdk.create_schedule(name, session=AtSession(calendar, after_close=timedelta(minutes=30)))
    [violation] = told.value.violations
    assert violation.field == "triggers[0].periodic.session.calendar"
    assert f"cannot build the calendar {calendar}" in violation.description


def test_a_calendar_that_breaks_later_stops_its_own_schedule_alone(
    sdk: Client, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, good = f"a-{name}", f"b-{name}"
    sdk.create_model(broken)
    sdk.create_schedule(broken, session=AtSession("XTKS", after_close=timedelta(minutes=30)))
    built = exchange_sessions._built
    with monkeypatch.context() as patched:
        patched.setattr(
            exchange_sessions, "_built", lambda mic, month: "no XTKS" if mic == "XTKS" else built(mic, month)
        )
        exchange_sessions.bounds.cache_clear()
        trading_sessions._moments.cache_clear()
        make_due(sdk, tmp_path, good)
        eventually(lambda: list(sdk.list_firings(good)))
        eventually(lambda: list(sdk.list_firings(broken)))
        shown = {one.model: one for one in sdk.list_due()}
        assert [problem.summary for problem in shown[broken].problems] == ["no XTKS"]
        assert shown[good].reasons
        [firing] = sdk.list_firings(broken)  # Once, and not with each look.
        assert "no XTKS" in firing.summary
        assert sdk.lease_jobs(holder="w", max_jobs=10)[0].model == good


@pytest.mark.parametrize(("holder", "place"), [(schedule_evaluation, "by_condition"), (repository, "to_schedule")])
def test_a_schedule_whose_evaluation_raises_stops_itself_alone(
    sdk: Client, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: Any, place: str
) -> None:
    bad, good = f"a-{name}", f"b-{name}"
    make_due(sdk, tmp_path, bad)
    eventually(lambda: list(sdk.list_firings(bad)))
    sdk.create_schedule(bad, schedule_id=f"healthy-{name}", cron="0 0 1 1 *")
    real = getattr(holder, place)

    def raising(first: Any, *rest: Any, **more: Any) -> Any:
        if first.model == bad:
            raise AttributeError("nobody foresaw this")
        return real(first, *rest, **more)

    with monkeypatch.context() as patched:
        patched.setattr(holder, place, raising)
        eventually(lambda: any(one.model == bad and one.problems for one in sdk.list_due()))
    make_due(sdk, tmp_path, good)
    eventually(lambda: list(sdk.list_firings(good)))


def test_a_version_that_mlflow_refuses_holds_up_no_other(
    sdk: Client, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, bad, good = MlflowMirror.sync, f"a-{name}", f"b-{name}"

    def sync(self: MlflowMirror, version: Any, *rest: Any) -> Any:
        if version.model == bad:
            raise ZeroDivisionError("a poison")
        return real(self, version, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowMirror, "sync", sync)
        register(sdk, tmp_path, bad, good)
        eventually(lambda: sdk.get_version(f"{good}/1").mlflow_version)
        eventually(lambda: any(bad in record.getMessage() for record in caplog.records))
        assert not sdk.get_version(f"{bad}/1").mlflow_version
        time.sleep(0.5)
        assert len([record for record in caplog.records if bad in record.getMessage()]) == 1
    eventually(lambda: sdk.get_version(f"{bad}/1").mlflow_version)


def test_a_version_that_cannot_be_tried_holds_up_no_other(
    sdk: Client, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, bad, good = try_version, f"a-{name}", f"b-{name}"

    async def tried(version: Any, *rest: Any) -> Any:
        if version.model == bad:
            raise errors.DigestMismatch("its file is damaged")
        return await real(version, *rest)

    def result(model: str) -> Any:
        return present(sdk.get_version(f"{model}/1").trial).result

    with monkeypatch.context() as patched:
        patched.setattr(trial_task, "try_version", tried)
        patched.setattr(trial_task, "RETRY_AFTER", timedelta(seconds=1))
        for model in (bad, good):
            sdk.register(model, LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]))
        eventually(lambda: result(good) is TrialResult.USABLE)
        assert result(bad) is TrialResult.PENDING
    eventually(lambda: result(bad) is TrialResult.USABLE)
    assert "trying the version" in caplog.text


def test_what_follows_one_job_holds_up_what_follows_others(
    sdk: Client, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, bad, good = post_training._stage, f"a-{name}", f"b-{name}"

    def stage(session: Any, row: Any, *rest: Any) -> None:
        if row.model == bad:
            raise KeyError("nobody foresaw this")
        real(session, row, *rest)

    def completed(model: str) -> str:
        register(sdk, tmp_path, model)
        sdk.set_retraining_policy(RetrainingPolicy(model, follow_up=FollowUpAction.STAGE))
        sdk.request_retraining(model)
        job = sdk.lease_job(model, holder="w")
        return sdk.complete_job(job, sdk.register(model, tmp_path / "model.bin", job=job)).job_id

    def state(job_id: str) -> FollowUpState | None:
        follow_up = sdk.get_job(job_id).follow_up
        return follow_up.state if follow_up else None

    with monkeypatch.context() as patched:
        patched.setattr(post_training, "_stage", stage)
        first, second = completed(bad), completed(good)
        eventually(lambda: state(second) is FollowUpState.WAITING)
        assert state(first) is FollowUpState.PENDING
    eventually(lambda: state(first) is FollowUpState.WAITING)


def test_a_record_that_cannot_be_told_holds_up_neither_watchers_nor_webhooks(
    sdk: Client, name: str, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = f"a-{name}", f"b-{name}"

    def refusing(real: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def read(row: Any) -> Any:
            if row.model == bad:
                raise UnicodeError("nobody foresaw this")
            return real(row)

        return read

    def told() -> list[str]:
        return [json.loads(body)["data"]["model"] for _, body in receiver.calls]

    register(sdk, tmp_path, bad, good)
    watch = sdk.watch([good])
    next(watch)
    with monkeypatch.context() as patched:
        patched.setattr(events, "_event", refusing(events._event))
        patched.setattr(delivery, "message_of", refusing(message_of))
        for model in (bad, good):
            sdk.promote(f"{model}/1", to="staging")
        assert next(watch).model == good
        eventually(lambda: good in told())
        assert bad not in told()
    watch.close()


def test_an_upload_that_cannot_be_removed_keeps_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = BlobStore(tmp_path)
    parts = [tmp_path / "incoming" / f"{name}.part" for name in "abc"]
    real = blobs._locked

    def locked(path: Path) -> Any:
        if path in {parts[0], parts[1]}:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    for part in parts:
        part.write_bytes(b"1")
    monkeypatch.setattr(blobs, "KEEP_UNFINISHED", timedelta(seconds=-60))
    monkeypatch.setattr(blobs, "_locked", locked)
    kept.remove_stale()
    assert [part.exists() for part in parts] == [True, True, False]

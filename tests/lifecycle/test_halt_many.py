"""Halts of many models at once: all of them or none, each on record as if it were halted alone."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelward import AsyncClient, AuditRecord, Client, EventKind, HaltResult, ModelEvent, errors
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.lifecycle.models import touch_model
from tests.support.clients import collect
from tests.support.running_server import RunningServer
from tests.support.scale import examples
from tests.support.values import present

DESKS = {"a": {"desk": "index"}, "b": {"desk": "index", "asset": "NDX"}, "c": {"desk": "rates"}}


@pytest.fixture
def prefix(server: RunningServer, name: str) -> str:
    """The prefix of three models that a test has for itself."""
    with Client(server.target) as client:
        for suffix, tags in DESKS.items():
            client.create_model(f"{name}-{suffix}", tags=tags)
    return f"{name}-"


def names(models: Any, prefix: str) -> str:
    return "".join(model.name.removeprefix(prefix) for model in models)


@pytest.mark.parametrize(
    ("tags", "halted"),
    [
        ({}, "abc"),
        ({"desk": "index"}, "ab"),
        ({"desk": "index", "asset": "NDX"}, "b"),
        ({"desk": "rates", "asset": "NDX"}, ""),
    ],
)
async def test_models_that_meet_every_condition_are_halted_and_no_others(
    client: AsyncClient, prefix: str, tags: dict[str, str], halted: str
) -> None:
    result = await client.halt_many(prefix=prefix, tags=tags, reason="exchange outage")
    assert (names(result.halted, prefix), names(result.already_halted, prefix)) == (halted, "")
    assert {present(model.halt).reason for model in result.halted} <= {"exchange outage"}
    now = await collect(client.list_models(name_prefix=prefix))
    assert names([model for model in now if model.halt], prefix) == halted
    assert [model for model in now if model.halt] == list(result.halted)


async def test_tags_alone_select_models_too(client: AsyncClient, prefix: str) -> None:
    await client.update_model(f"{prefix}a", tags={"only": prefix})
    assert names((await client.halt_many(tags={"only": prefix}, reason="stop")).halted, prefix) == "a"


async def test_model_that_was_halted_before_keeps_its_reason(client: AsyncClient, prefix: str) -> None:
    first = await client.halt(f"{prefix}b", reason="prices are wrong")
    result = await client.halt_many(prefix=prefix, reason="exchange outage")
    assert names(result.halted, prefix) == "ac"
    assert list(result.already_halted) == [first] == [await client.get_model(f"{prefix}b")]


@pytest.mark.system
async def test_each_halt_is_on_record_as_if_it_were_alone(client: AsyncClient, prefix: str) -> None:
    await client.halt(f"{prefix}b", reason="stop")
    await client.resume(f"{prefix}b")
    await client.halt_many(prefix=prefix, reason="stop")
    records = [record for record in await collect(client.export_audit_log()) if record.model.startswith(prefix)]
    alone, *together = [record for record in records if record.kind == "halted"]
    assert [record.model.removeprefix(prefix) for record in together] == ["a", "b", "c"]
    assert len({record.happened_at for record in together}) == 1
    assert {(record.actor, record.version) for record in together} == {(alone.actor, alone.version)}
    assert [_without_time(record) for record in together] == [_without_time(alone)] * 3
    assert (await client.verify_audit_log()).intact


def _without_time(record: AuditRecord) -> dict[str, Any]:
    return {key: value for key, value in json.loads(record.payload).items() if key != "halted_at"}


def test_watchers_see_each_halt(server: RunningServer, prefix: str) -> None:
    with Client(server.target) as client:
        watches = [client.watch([f"{prefix}{suffix}"]) for suffix in DESKS]
        states: list[ModelEvent] = [next(watch) for watch in watches]
        assert {state.kind for state in states} == {EventKind.STATE}
        client.halt_many(prefix=prefix, reason="stop")
        assert [next(watch).kind for watch in watches] == [EventKind.HALTED] * 3
        for watch in watches:
            watch.close()


async def test_dry_run_tells_the_effect_and_changes_nothing(client: AsyncClient, prefix: str) -> None:
    before = await collect(client.list_models(name_prefix=prefix))
    result = await client.halt_many(prefix=prefix, reason="stop", dry_run=True)
    assert [model.name for model in result.halted] == [model.name for model in before]
    assert await collect(client.list_models(name_prefix=prefix)) == before


async def test_all_models_are_halted_only_when_that_is_said(client: AsyncClient, prefix: str) -> None:
    every = await collect(client.list_models())
    result = await client.halt_many(all_models=True, reason="stop", dry_run=True)
    assert {model.name for model in (*result.halted, *result.already_halted)} == {model.name for model in every}


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "request"),
        ({"all_models": True, "prefix": "spx-"}, "request"),
        ({"all_models": True, "tags": {"desk": "index"}}, "request"),
        ({"prefix": "spx*"}, "prefix"),
        ({"prefix": "spx-", "reason": ""}, "reason"),
        ({"prefix": "spx-", "reason": "  "}, "reason"),
    ],
)
async def test_unclear_selection_and_missing_reason_are_refused(
    client: AsyncClient, given: dict[str, Any], field: str
) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        await client.halt_many(**{"reason": "stop", **given})
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.system
async def test_failure_in_the_middle_halts_none(
    client: AsyncClient, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_at_the_last(row: Any, actor: Any) -> None:
        if row.name == f"{prefix}c":
            raise errors.FailedPrecondition("the test wants a failure")
        touch_model(row, actor)

    monkeypatch.setattr("modelward_server.lifecycle.halts.touch_model", fail_at_the_last)
    with pytest.raises(errors.FailedPrecondition):
        await client.halt_many(prefix=prefix, reason="stop")
    monkeypatch.undo()
    assert [model.halt for model in await collect(client.list_models(name_prefix=prefix))] == [None] * 3
    assert (await client.verify_audit_log()).intact


def test_repeated_request_gets_the_first_answer(server: RunningServer, prefix: str) -> None:
    request = pb.HaltModelsRequest(name_prefix=prefix, reason="stop", request_id=str(uuid4()))
    with grpc.insecure_channel(server.target) as channel, Client(server.target) as client:
        stub: Any = LifecycleServiceStub(channel)
        first = stub.HaltModels(request)
        client.resume(f"{prefix}a")
        assert stub.HaltModels(request) == first
        assert client.get_model(f"{prefix}a").halt is None


SUFFIXES = st.sampled_from(sorted(DESKS))
ACTS = st.one_of(
    st.just(("halt all", "")),
    st.tuples(st.sampled_from(["halt", "resume", "promote", "rollback"]), SUFFIXES),
)
LISTS_OF_ACTS = st.lists(st.lists(ACTS, min_size=1, max_size=5), min_size=2, max_size=3)


@pytest.fixture(scope="module")
def promoted(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The prefix of three models in production, each with a version to promote."""
    prefix = f"raced-{uuid4().hex[:8]}-"
    path: Path = tmp_path_factory.mktemp("raced") / "model.bin"
    path.write_bytes(b"model")
    with Client(server.target) as client:
        for suffix in DESKS:
            for stages in (["staging", "production"], ["staging"]):
                version = client.register(prefix + suffix, path)
                for stage in stages:
                    client.promote(version, to=stage, reason="it passed its tests")
    return prefix


@pytest.mark.system  # Takes seconds.
@settings(max_examples=examples(8), deadline=None)
@given(LISTS_OF_ACTS)
@pytest.mark.weekly("sqlite")
def test_whatever_others_do_meanwhile_all_models_are_halted_at_one_point_of_the_log(
    server: RunningServer, promoted: str, acts: list[list[tuple[str, str]]]
) -> None:
    with Client(server.target) as client, ThreadPoolExecutor(len(acts)) as pool:
        start = client.verify_audit_log().head_sequence
        for suffix in DESKS:
            client.resume(promoted + suffix)
        runs = pool.map(lambda own: list(_perform(server.target, promoted, own)), acts)
        answers = {reason: result for run in runs for reason, result in run}
        records = list(client.export_audit_log(from_sequence=start + 1))
        _check_each_halt_of_all(records, answers, promoted)
        assert client.verify_audit_log().intact


def _perform(target: str, prefix: str, acts: list[tuple[str, str]]) -> Iterator[tuple[str, HaltResult]]:
    """Make changes, and return what each halt of all models answered, by its reason."""
    with Client(target) as client:
        one: dict[str, Callable[[str], Any]] = {
            "halt": lambda model: client.halt(model, reason="alone"),
            "resume": client.resume,
            "promote": lambda model: client.promote(f"{model}/2", to="production", reason="it passed its tests"),
            "rollback": lambda model: client.rollback(model, reason="alone"),
        }
        for act, suffix in acts:
            if act == "halt all":
                reason = str(uuid4())
                yield reason, client.halt_many(prefix=prefix, reason=reason)
            else:
                with suppress(errors.FailedPrecondition, errors.Aborted):
                    one[act](prefix + suffix)


def _check_each_halt_of_all(records: list[AuditRecord], answers: dict[str, HaltResult], prefix: str) -> None:
    """Replay the log: a halt of all is one unbroken run of records, of exactly the models that were not halted."""
    halted: set[str] = set()
    written: dict[str, list[AuditRecord]] = {reason: [] for reason in answers}
    before: dict[str, set[str]] = {}
    for record in records:
        if record.kind == "resumed":
            halted.discard(record.model)
        elif record.kind == "halted":
            reason = json.loads(record.payload)["reason"]
            if reason in written:
                before.setdefault(reason, set(halted))
                written[reason].append(record)
            halted.add(record.model)
    for reason, answer in answers.items():
        run = written[reason]
        assert [record.model for record in run] == [model.name for model in answer.halted]
        assert [record.sequence for record in run] == [*range(run[0].sequence, run[-1].sequence + 1)] if run else True
        assert {model.name for model in (*answer.halted, *answer.already_halted)} == {prefix + s for s in DESKS}
        if run:
            assert before[reason] == {model.name for model in answer.already_halted}

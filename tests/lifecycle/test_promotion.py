"""Stages: what is legal, what a promotion does, and what the record says of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelward import AsyncClient, Stage, VersionRef, errors
from modelward_server.lifecycle.stages import LEGAL_MOVES, check_move
from tests.support.clients import collect
from tests.support.values import present


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "model.bin").write_bytes(b"model")
    return tmp_path / "model.bin"


async def _register(client: AsyncClient, name: str, artifact: Path, *path: str) -> str:
    version = await client.register(name, artifact)
    for stage in path:
        await client.promote(version, to=stage, reason="it passed its tests")
    return str(version)


@given(current=st.sampled_from(Stage), to=st.sampled_from(Stage))
def test_every_move_is_either_legal_or_refused_with_what_is_legal(current: Stage, to: Stage) -> None:
    if to in LEGAL_MOVES[current]:
        check_move(VersionRef("m", 1), current, to)
        return
    with pytest.raises(errors.IllegalTransition) as caught:
        check_move(VersionRef("m", 1), current, to)
    assert caught.value.metadata == {"from": current, "to": to, "legal": ",".join(LEGAL_MOVES[current])}


@pytest.mark.system
async def test_promotion_into_production_archives_the_version_there(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    await _register(client, name, artifact, "staging", "production")
    await _register(client, name, artifact, "staging")
    result = await client.promote(f"{name}/2", to="production", reason="Q3 review")
    assert (result.version.stage, result.version.version) == (Stage.PRODUCTION, 2)
    assert (present(result.archived).stage, present(result.archived).version) == (Stage.ARCHIVED, 1)
    in_production = await collect(client.list_versions(name, stages=[Stage.PRODUCTION]))
    assert [version.version for version in in_production] == [2]
    assert (await client.get_model(name)).production_version == 2


async def test_illegal_move_says_what_is_legal_and_changes_nothing(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    version = await _register(client, name, artifact)
    with pytest.raises(errors.IllegalTransition, match="staging or archived"):
        await client.promote(version, to="production", reason="it passed its tests")
    assert (await client.get_version(version)).stage is Stage.TRAINING
    assert len(await collect(client.list_transitions(name))) == 1


async def test_unknown_stage_is_refused_with_those_that_there_are(client: AsyncClient, name: str) -> None:
    with pytest.raises(errors.InvalidField, match="training, staging, production, archived"):
        await client.promote(f"{name}/1", to="prod", reason="it passed its tests")


async def test_promotion_on_a_stale_etag_aborts(client: AsyncClient, name: str, artifact: Path) -> None:
    seen = await client.get_version(await _register(client, name, artifact))
    await client.update_version(seen, description="changed meanwhile")
    with pytest.raises(errors.EtagMismatch):
        await client.promote(seen, to="staging", etag=seen.etag)


@pytest.mark.system
async def test_dry_run_tells_what_would_happen_and_changes_nothing(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    await _register(client, name, artifact, "staging", "production")
    await _register(client, name, artifact, "staging")
    told = await client.promote(f"{name}/2", to="production", dry_run=True, reason="it passed its tests")
    assert (told.version.stage, present(told.archived).version) == (Stage.PRODUCTION, 1)
    assert (await client.resolve(name)).version.version == 1
    assert len(await collect(client.list_transitions(name))) == 5


@pytest.mark.system
async def test_history_tells_who_moved_what_when_and_why(client: AsyncClient, name: str, artifact: Path) -> None:
    await _register(client, name, artifact, "staging", "production")
    await _register(client, name, artifact, "staging")
    await client.promote(f"{name}/2", to="production", reason="better on 2007")
    promoted, archived, *_, first = await collect(client.list_transitions(name))
    assert (promoted.version.version, promoted.from_stage, promoted.to_stage) == (2, Stage.STAGING, Stage.PRODUCTION)
    assert (promoted.actor, promoted.reason, promoted.displaced_by) == ("tester", "better on 2007", 0)
    assert (archived.version.version, archived.to_stage, archived.displaced_by) == (1, Stage.ARCHIVED, 2)
    assert "better on 2007" in archived.reason
    assert (first.from_stage, first.to_stage, first.reason) == (None, Stage.TRAINING, "registered")
    assert promoted.sequence > archived.sequence > first.sequence
    of_second = await collect(client.list_transitions(name, version=2))
    assert [t.to_stage for t in of_second] == [Stage.PRODUCTION, Stage.STAGING, Stage.TRAINING]
    assert [t.sequence for t in await collect(client.list_transitions(name, moved_before=promoted.moved_at))] == [
        t.sequence for t in await collect(client.list_transitions(name)) if t.moved_at < promoted.moved_at
    ]


@pytest.mark.system
async def test_resolve_finds_by_stage_number_and_alias(client: AsyncClient, name: str, artifact: Path) -> None:
    await _register(client, name, artifact, "staging", "production")
    await _register(client, name, artifact, "staging")
    await _register(client, name, artifact)

    async def found(**selector: Any) -> int:
        return (await client.resolve(name, **selector)).version.version

    assert await found() == 1
    assert await found(stage="staging") == 2
    assert await found(version=3) == 3
    assert await found(alias="latest") == 3
    assert await found(alias="production") == 1


async def test_resolve_without_anything_there_says_so(client: AsyncClient, name: str, artifact: Path) -> None:
    with pytest.raises(errors.ModelNotFound):
        await client.resolve(name)
    await _register(client, name, artifact)
    with pytest.raises(errors.NothingResolved, match="stage production"):
        await client.resolve(name)
    with pytest.raises(errors.NothingResolved, match="alias champion"):
        await client.resolve(name, alias="champion")
    with pytest.raises(errors.VersionNotFound):
        await client.resolve(name, version=7)


@pytest.mark.system
async def test_resolve_as_of_answers_for_the_past(client: AsyncClient, name: str, artifact: Path) -> None:
    await _register(client, name, artifact, "staging", "production")
    await _register(client, name, artifact, "staging")
    second = await client.promote(f"{name}/2", to="production", reason="it passed its tests")
    before = second.transition.moved_at - timedelta(microseconds=1)
    then = await client.resolve(name, as_of=before)
    assert (then.version.version, then.version.stage) == (1, Stage.PRODUCTION)
    now = await client.resolve(name, as_of=second.transition.moved_at)
    assert now.version.version == 2
    assert (await client.resolve(name, version=1, as_of=second.transition.moved_at)).version.stage is Stage.ARCHIVED
    with pytest.raises(errors.NothingResolved, match="2020"):
        await client.resolve(name, as_of=datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(errors.VersionNotFound, match="did not exist"):
        await client.resolve(name, version=2, as_of=datetime(2020, 1, 1, tzinfo=UTC))


async def test_resolve_in_the_future_is_refused(client: AsyncClient, name: str) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        await client.resolve(name, as_of=datetime.now(UTC) + timedelta(days=1))
    assert caught.value.violations[0].field == "as_of"

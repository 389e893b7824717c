"""Lists over many models say of each what the calls about one model say."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from modelward import AsyncClient, LoadFailure, ModelRollout, ProductionVersion, Rollout, Stage, Transition, errors
from tests.support.clients import collect

pytestmark = pytest.mark.system  # Takes seconds.

MODELS = 3


@pytest.fixture
async def models(client: AsyncClient, name: str, tmp_path: Path) -> Sequence[str]:
    """A model with engines, one that is halted, and one without a version."""
    (tmp_path / "model.bin").write_bytes(b"model")
    names = [f"{name}-{number}" for number in range(MODELS)]
    for model in names:
        await client.create_model(model)
    for model in names[:2]:
        for _ in range(2):
            version = await client.register(model, tmp_path / "model.bin")
            await client.promote(version, to="staging")
            await client.promote(version, to="production", reason="better")
        await client.report_active(f"{model}/2", engine="ny4-01")
        await client.report_active(f"{model}/1", engine="ld4-01", failure=LoadFailure(2, "no library"))
    await client.halt(names[1], reason="no data")
    return names


@pytest.mark.weekly("postgresql")
async def test_rollouts_of_many_models_are_those_of_each(client: AsyncClient, name: str, models: Sequence[str]) -> None:
    expected = [ModelRollout(model, model == models[1], await client.get_rollout(model)) for model in models]
    assert await collect(client.list_rollouts(name_prefix=name)) == expected
    assert [len(one.rollout.engines) for one in expected] == [2, 2, 0]
    assert expected[1].rollout.expected is None
    assert expected[2].rollout == Rollout(None, ())


async def test_production_versions_are_those_that_the_transitions_show(
    client: AsyncClient, name: str, models: Sequence[str]
) -> None:
    await client.promote(f"{models[0]}/2", to="archived")
    moves = [move for model in models for move in await collect(client.list_transitions(model))]
    for move in moves:
        for at in (move.moved_at, move.moved_at - timedelta(microseconds=1)):
            found = await collect(client.list_production_versions(as_of=at, name_prefix=name))
            assert {one.model: one.promotion for one in found if one.promotion} == _in_production(moves, at)
    now = await collect(client.list_production_versions(name_prefix=name))
    assert [one.promotion.version.version if one.promotion else 0 for one in now] == [0, 2, 0]


def _in_production(moves: Sequence[Transition], at: object) -> dict[str, Transition]:
    """Return the promotions of what was in production at a time, by applying the transitions in their order."""
    stages: dict[str, Transition] = {}
    for move in sorted(moves, key=lambda move: move.sequence):
        if move.moved_at > at:  # type: ignore[operator]
            continue
        if move.to_stage is Stage.PRODUCTION:
            stages[move.version.model] = move
        elif move.from_stage is Stage.PRODUCTION and stages[move.version.model].version == move.version:
            del stages[move.version.model]
    return stages


@pytest.mark.weekly("postgresql")
async def test_models_that_did_not_exist_then_are_left_out(
    client: AsyncClient, name: str, models: Sequence[str]
) -> None:
    created = (await client.get_model(models[1])).created_at
    found = await collect(client.list_production_versions(as_of=created, name_prefix=name))
    assert found == [ProductionVersion(models[0], None), ProductionVersion(models[1], None)]


@pytest.mark.parametrize("listed", ["list_rollouts", "list_production_versions"])
@pytest.mark.weekly("postgresql")
async def test_one_page_of_a_list_has_the_token_of_the_next(
    client: AsyncClient, name: str, models: Sequence[str], listed: str
) -> None:
    first = await getattr(client, listed)(name_prefix=name).page(size=2)
    second = await getattr(client, listed)(name_prefix=name).page(first.next_page_token, size=2)
    assert [one.model for page in (first, second) for one in page.items] == models
    assert second.next_page_token == ""
    with pytest.raises(errors.InvalidField):
        await getattr(client, listed)(name_prefix="other").page(first.next_page_token)

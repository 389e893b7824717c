"""The reason of a change of production: required by default, and a policy of the model can leave it out."""

from pathlib import Path

import pytest

from modelward import AsyncClient, PromotionPolicy, errors

FILE = Path(__file__)


async def staged(client: AsyncClient, name: str) -> str:
    version = await client.register(name, FILE)
    await client.promote(version, to="staging")
    return str(version)


@pytest.mark.system
async def test_a_promotion_and_a_rollback_need_one(client: AsyncClient, name: str) -> None:
    first, second = await staged(client, name), await staged(client, name)
    with pytest.raises(errors.InvalidField, match="reason: is missing; say why"):
        await client.promote(first, to="production", reason=" \u200b\u2066")  # Nothing of it can be seen.
    await client.promote(first, to="production", reason="first")
    await client.promote(second, to="production", reason="second")
    with pytest.raises(errors.InvalidField, match="reason: is missing; say why"):
        await client.rollback(name)
    assert (await client.get_model(name)).production_version == 2
    assert str((await client.rollback(name, reason="it loses")).version) == first


async def test_a_dry_run_which_comes_first_needs_none(client: AsyncClient, name: str) -> None:
    version = await staged(client, name)
    await client.promote(version, to="production", dry_run=True)
    await client.promote(version, to="production", reason="first")
    with pytest.raises(errors.NoPredecessor):
        await client.rollback(name, dry_run=True)


@pytest.mark.system
async def test_the_end_of_a_test_needs_one_but_for_the_rule_which_has_its_own(client: AsyncClient, name: str) -> None:
    arms = {"champion": await staged(client, name), "challenger": await staged(client, name)}
    test = await client.create_ab_test(name, arms, primary_metric="pnl_bps")
    with pytest.raises(errors.InvalidField, match="reason: is missing"):
        await client.conclude_ab_test(test, winner="champion")
    with pytest.raises(errors.AbTestUndecided):
        await client.conclude_ab_test(test, action="by-rule")
    assert (await client.conclude_ab_test(test, winner="champion", reason="no time")).conclusion


@pytest.mark.system
async def test_a_policy_can_leave_it_out(client: AsyncClient, name: str) -> None:
    first, second = await staged(client, name), await staged(client, name)
    await client.set_promotion_policy(PromotionPolicy(name, disabled_gates=("reason",)))
    await client.promote(first, to="production")
    await client.promote(second, to="production")
    assert str((await client.rollback(name)).version) == first

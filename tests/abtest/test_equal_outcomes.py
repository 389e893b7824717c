"""Outcomes that are equal but for rounding, through the front door: nothing is promoted or rolled back by them."""

from pathlib import Path

import numpy as np
import pytest

from modelward import AbAction, AbMetric, AbOutcome, AbTest, AsyncClient, Verdict, errors
from modelward.assignment import assign
from tests.support.abtest_traffic import register_two

pytestmark = pytest.mark.system  # Takes seconds.

UNITS = 400
NEARLY = 0.1 + 0.2


def _outcomes(test: AbTest, value: float, other: float, noise: bool = False) -> list[AbOutcome]:
    """Return outcomes whose guardrail has one value for the control and another one for the challenger."""
    noises = np.random.default_rng(1).normal(size=UNITS).tolist() if noise else [0.0] * UNITS
    found = []
    for number in range(UNITS):
        theirs = other if assign(test, f"unit-{number}").variant != test.control else value
        profit = noises[number] if noise else theirs
        found.append(AbOutcome(f"{number}", f"unit-{number}", {"pnl": profit, "fills": theirs}))
    return found


@pytest.mark.parametrize(("value", "other"), [(0.3, NEARLY), (NEARLY, 0.3), (1e100, 1e100), (0.7, 0.7)])
async def test_rule_decides_nothing_by_rounding(
    client: AsyncClient, name: str, tmp_path: Path, value: float, other: float
) -> None:
    versions = await register_two(client, name, tmp_path, staged=True)
    test = await client.create_ab_test(name, versions, primary_metric="pnl", guardrails=[AbMetric("fills")])
    await client.record_ab_outcomes(test, _outcomes(test, value, other))
    result = await client.ab_test_result(test)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert (result["challenger"]["pnl"].difference, result.broken_guardrails, result.best) == (0, (), "champion")
    with pytest.raises(errors.AbTestUndecided, match="needs 30 units with varying values"):
        await client.conclude_ab_test(test, action=AbAction.BY_RULE, reason="it was decided")
    assert (await client.get_model(name)).production_version == 1
    assert (await client.render_ab_test(test.test)).startswith(b"<!doctype html>")
    assert (await client.render_ab_test(test.test, "png")).startswith(b"\x89PNG")


async def test_constant_guardrail_that_differs_by_rounding_rolls_nothing_back(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    versions = await register_two(client, name, tmp_path, staged=True)
    await client.promote(versions["challenger"], to="production", reason="it passed its tests")
    test = await client.create_ab_test(name, versions, primary_metric="pnl", guardrails=[AbMetric("fills")])
    await client.record_ab_outcomes(test, _outcomes(test, NEARLY, 0.3, noise=True))
    assert (await client.ab_test_result(test)).broken_guardrails == ()
    with pytest.raises(errors.AbTestUndecided):
        await client.conclude_ab_test(test, action=AbAction.BY_RULE, reason="it was decided")
    assert (await client.get_model(name)).production_version == 2


async def test_result_is_the_same_in_every_unit(client: AsyncClient, name: str, tmp_path: Path) -> None:
    versions = await register_two(client, name, tmp_path)
    noise = np.random.default_rng(2).normal(size=UNITS)
    found = []
    for number, unit in enumerate((1.0, 2.0**150, 2.0**-900)):
        test = await client.create_ab_test(f"{name}-{number}", versions, primary_metric="pnl", salt="same")
        lifts = [float(assign(test, f"unit-{n}").variant != test.control) for n in range(UNITS)]
        sent = [
            AbOutcome(f"{n}", f"unit-{n}", {"pnl": unit * (noise[n] + lifts[n])}, {"pnl": unit * noise[n] ** 2})
            for n in range(UNITS)
        ]
        await client.record_ab_outcomes(test, sent)
        estimate = (await client.ab_test_result(test))["challenger"]["pnl"]
        found.append((estimate.verdict, estimate.difference / unit, estimate.low / unit, estimate.high / unit))
    assert found[0][0] is Verdict.SUPERIOR
    assert found[1] == found[2] == found[0]

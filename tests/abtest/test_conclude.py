"""The end of an A/B test through both clients, on each database: by hand and by rule, through the usual gates."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from modelward import AbAction, AbMetric, AbOutcome, AbTest, AbTestState, AsyncClient, Client, Stage, Verdict, errors
from modelward.assignment import assign
from modelward.v1 import comparison_pb2 as pb
from modelward.v1.comparison_pb2_grpc import ComparisonServiceStub
from tests.support.abtest_traffic import named, outcomes, register_two
from tests.support.clients import collect
from tests.support.running_server import RunningServer
from tests.support.values import present

pytestmark = pytest.mark.system  # Takes seconds.


async def started(client: AsyncClient, name: str, folder: Path, lift: float = 0.0, **arguments: Any) -> AbTest:
    """Start a test of a champion in production and a challenger in staging, with a thousand outcomes."""
    versions = await register_two(client, name, folder, staged=True)
    test: AbTest = await client.create_ab_test(name, versions, **({"primary_metric": "pnl_bps"} | arguments))
    await client.record_ab_outcomes(test, outcomes(test, 1000, lift=lift))
    return test


async def records(client: AsyncClient, name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return what the audit log says of the end of tests and of moves."""
    kinds = {"ab_test_concluded", "transition"}
    found = await collect(client.export_audit_log())
    assert (await client.verify_audit_log()).intact
    return [(r.kind, json.loads(r.payload)) for r in found if r.model == name and r.kind in kinds]


async def test_by_hand_it_is_only_recorded_and_everybody_gets_the_winner(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    test = await started(client, name, tmp_path)
    done = await client.conclude_ab_test(test, winner="challenger", reason="cheaper to run", etag=test.etag)
    assert (done.state, present(done.conclusion).winner, present(done.conclusion).action) == (
        AbTestState.CONCLUDED,
        "challenger",
        AbAction.NONE,
    )
    assert (present(done.conclusion).actor, present(done.conclusion).reason) == ("tester", "cheaper to run")
    assert present(done.conclusion).result == await client.ab_test_result(test)
    assert done == await client.get_ab_test(name)
    assert done.etag != test.etag
    assert {assign(done, f"u{n}").variant.name for n in range(50)} == {"challenger"}
    assert (await client.assign_variant(name, "u1")).in_test is False
    assert (await client.get_model(name)).production_version == 1
    kind, said = (await records(client, name))[-1]
    assert (kind, said["winner"], said["action"], said["verdict"]) == (
        "ab_test_concluded",
        "challenger",
        "none",
        "inconclusive",
    )


async def test_nothing_is_said_of_the_winner_so_the_control_stays(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    test = await started(client, name, tmp_path)
    assert present((await client.conclude_ab_test(test, reason="it was decided")).conclusion).winner == "champion"


async def test_by_rule_the_superior_variant_goes_into_production(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    test = await started(client, name, tmp_path, lift=0.8)
    done = await client.conclude_ab_test(test, action="by-rule")
    assert (present(done.conclusion).winner, present(done.conclusion).action) == ("challenger", AbAction.PROMOTE)
    assert (await client.get_model(name)).production_version == 2
    assert (await client.get_version(f"{name}/1")).stage is Stage.ARCHIVED
    promoted = next(t for t in await collect(client.list_transitions(name)) if t.to_stage is Stage.PRODUCTION)
    assert f"A/B test {name}: challenger is better than champion" in promoted.reason


async def test_by_rule_nothing_happens_while_it_may_be_luck(client: AsyncClient, name: str, tmp_path: Path) -> None:
    test = await started(client, name, tmp_path)
    with pytest.raises(errors.AbTestUndecided, match="not statistically significant"):
        await client.conclude_ab_test(test, action="by-rule")
    versions = {variant.name: variant.version for variant in test.variants}
    broken = await client.create_ab_test(f"{name}-2", versions, primary_metric="pnl_bps")
    await client.record_ab_outcomes(broken, named(broken, {"champion": 600, "challenger": 300}))
    with pytest.raises(errors.AbTestUndecided, match="Sample ratio mismatch"):
        await client.conclude_ab_test(broken, action="by-rule")
    assert (await client.get_ab_test(name)).state is AbTestState.RUNNING
    assert (await client.record_ab_outcomes(test, outcomes(test, 1001))).recorded == 1


async def test_by_rule_a_guardrail_broken_in_production_rolls_back(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    test = await started(client, name, tmp_path, guardrails=[AbMetric("loss", lower_is_better=True)])
    sent = [
        AbOutcome(f"loss-{one.outcome_id}", one.unit, {"loss": one.metrics["pnl_bps"] + worse})
        for one in outcomes(test, 1000)
        for worse in [float(assign(test, one.unit).variant.name == "challenger")]
    ]
    await client.record_ab_outcomes(test, sent)
    with pytest.raises(errors.AbTestUndecided, match="violates the guardrail loss"):
        await client.conclude_ab_test(test, action="by-rule")
    await client.promote(f"{name}/2", to="production", reason="it passed its tests")
    done = await client.conclude_ab_test(test, action="by-rule")
    assert (present(done.conclusion).winner, present(done.conclusion).action) == ("champion", AbAction.ROLL_BACK)
    assert (await client.get_model(name)).production_version == 1


async def test_gates_that_fail_leave_the_test_running_and_nothing_moved(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    test = await started(client, name, tmp_path, lift=0.8)
    policy = await client.get_promotion_policy(name)
    await client.set_promotion_policy(replace(policy, required_tags=("approved",)))
    before = await records(client, name)
    with pytest.raises(errors.GatesFailed) as caught:
        await client.conclude_ab_test(test, action="by-rule")
    assert [gate.gate for gate in caught.value.gates] == ["required_tags.approved"]
    assert await records(client, name) == before
    assert (await client.get_ab_test(name)) == test
    assert (await client.get_model(name)).production_version == 1


async def test_superior_verdict_opens_the_gate_that_asks_for_a_comparison(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    test = await started(client, name, tmp_path)
    await client.set_promotion_policy(replace(await client.get_promotion_policy(name), require_comparison=True))
    with pytest.raises(errors.GatesFailed, match="no comparison"):
        await client.promote(f"{name}/2", to="production", reason="it passed its tests")
    better = await client.create_ab_test(
        f"{name}-better", {v.name: v.version for v in test.variants}, primary_metric="pnl_bps"
    )
    await client.record_ab_outcomes(better, outcomes(better, 1000, lift=0.8))
    done = await client.conclude_ab_test(better, action="by-rule")
    assert present(done.conclusion).result.verdict is Verdict.SUPERIOR
    promoted = next(t for t in await collect(client.list_transitions(name)) if t.to_stage is Stage.PRODUCTION)
    [_, gate] = promoted.gates
    assert f"{name}/2 is superior to {name}/1 by pnl_bps (A/B test {better.test})" in gate.evidence


async def test_superior_variant_that_is_in_production_already_stays_there(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    test = await started(client, name, tmp_path, lift=0.8)
    await client.promote(f"{name}/2", to="production", reason="it passed its tests")
    done = await client.conclude_ab_test(test, action="by-rule")
    assert (present(done.conclusion).winner, present(done.conclusion).action) == ("challenger", AbAction.NONE)


async def test_concluded_test_takes_nothing_more(client: AsyncClient, name: str, tmp_path: Path) -> None:
    test = await started(client, name, tmp_path)
    await client.conclude_ab_test(test, reason="it was decided")
    with pytest.raises(errors.AbTestConcluded, match="start another one") as caught:
        await client.record_ab_outcomes(test, [AbOutcome("late", "u", {"pnl_bps": 1.0})])
    assert caught.value.metadata == {"test": name, "winner": "champion"}
    with pytest.raises(errors.AbTestConcluded):
        await client.conclude_ab_test(test, winner="challenger", reason="it was decided")


async def test_winner_and_etag_must_fit(client: AsyncClient, name: str, tmp_path: Path) -> None:
    test = await started(client, name, tmp_path, lift=0.8)
    with pytest.raises(errors.InvalidField, match="champion, challenger"):
        await client.conclude_ab_test(test, winner="nobody", reason="it was decided")
    with pytest.raises(errors.InvalidField, match="the rule chooses challenger"):
        await client.conclude_ab_test(test, winner="champion", action="by-rule")
    with pytest.raises(errors.EtagMismatch):
        await client.conclude_ab_test(test, etag="r99", reason="it was decided")
    with pytest.raises(errors.NoPredecessor):
        await client.conclude_ab_test(test, action="roll-back", reason="it was decided")
    assert (await client.get_ab_test(name)).state is AbTestState.RUNNING


def test_repeated_request_concludes_once(server: RunningServer, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"model")
    with Client(server.target) as client, grpc.insecure_channel(server.target) as channel:
        versions = {arm: client.register(name, tmp_path / "model.bin") for arm in ("champion", "challenger")}
        client.create_ab_test(name, versions, primary_metric="pnl_bps")
        request = pb.ConcludeAbTestRequest(test=name, reason="decided", request_id=str(uuid4()))
        answers = [ComparisonServiceStub(channel).ConcludeAbTest(request) for _ in range(2)]
        assert answers[0] == answers[1]
        assert [r.kind for r in client.export_audit_log() if r.model == name].count("ab_test_concluded") == 1


async def test_a_dry_run_decides_and_changes_nothing(client: AsyncClient, name: str, tmp_path: Path) -> None:
    test = await started(client, name, tmp_path, lift=2.0)
    expected = await client.conclude_ab_test(test, action="by-rule", dry_run=True)
    assert (present(expected.conclusion).winner, present(expected.conclusion).action) == ("challenger", "promote")
    assert (await client.get_ab_test(name)).state is AbTestState.RUNNING
    assert (await client.get_model(name)).production_version == 1
    own = str(uuid4())
    once, again = [
        await client.conclude_ab_test(test, action="by-rule", request_id=own, reason="it was decided") for _ in range(2)
    ]
    assert once == again
    assert (await client.get_model(name)).production_version == 2

"""Rollback, halt, promotion gates and the audit log."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from modelward import (
    AsyncClient,
    FreezeWindow,
    GateResult,
    MetricMargin,
    MetricRange,
    PromotionPolicy,
    Stage,
    errors,
)
from modelward_server.settings import Settings
from tests.support.clients import collect
from tests.support.running_server import RunningServer
from tests.support.values import present


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "model.bin").write_bytes(b"model")
    return tmp_path / "model.bin"


async def _promoted(client: AsyncClient, name: str, artifact: Path, **facts: Any) -> str:
    version = await client.register(name, artifact, **facts)
    await client.promote(version, to="staging")
    await client.promote(version, to="production", reason="it passed its tests")
    return str(version)


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_rollbacks_go_back_one_promotion_at_a_time(client: AsyncClient, name: str, artifact: Path) -> None:
    for _ in range(3):
        await _promoted(client, name, artifact)
    first = await client.rollback(name, reason="v3 loses money")
    assert (first.version.version, present(first.archived).version) == (2, 3)
    assert first.transition.reason == "rollback: v3 loses money"
    second = await client.rollback(name, reason="it lost money")
    assert (second.version.version, present(second.archived).version) == (1, 2)
    with pytest.raises(errors.NoPredecessor):
        await client.rollback(name, reason="it lost money")
    assert (await client.resolve(name)).version.version == 1


@pytest.mark.system
async def test_rollback_to_a_version_in_staging_is_no_promotion_of_it(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    for _ in range(2):
        await _promoted(client, name, artifact)
    await client.promote(f"{name}/1", to="staging")
    assert (await client.rollback(name, reason="it lost money")).version.version == 1
    with pytest.raises(errors.NoPredecessor):
        await client.rollback(name, reason="it lost money")


async def test_rollback_brings_back_what_was_taken_out_of_production(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    version = await _promoted(client, name, artifact)
    await client.promote(version, to="archived", reason="maintenance")
    result = await client.rollback(name, reason="it lost money")
    assert (result.version.version, result.archived) == (1, None)


@pytest.mark.system
async def test_rollback_dry_run_changes_nothing(client: AsyncClient, name: str, artifact: Path) -> None:
    for _ in range(2):
        await _promoted(client, name, artifact)
    assert (await client.rollback(name, dry_run=True, reason="it lost money")).version.version == 1
    assert (await client.resolve(name)).version.version == 2


@pytest.mark.system
async def test_version_promoted_again_after_a_rollback_displaces_what_it_finds(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    for _ in range(2):
        await _promoted(client, name, artifact)
    await client.rollback(name, reason="it lost money")
    await client.promote(f"{name}/2", to="staging")
    await client.promote(f"{name}/2", to="production", reason="it passed its tests")
    assert (await client.rollback(name, reason="it lost money")).version.version == 1


@pytest.mark.system
async def test_halted_model_does_not_resolve_until_it_is_resumed(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    version = await _promoted(client, name, artifact)
    halted = await client.halt(name, reason="prices are wrong")
    assert (present(halted.halt).actor, present(halted.halt).reason) == ("tester", "prices are wrong")
    with pytest.raises(errors.ModelHalted, match="prices are wrong") as caught:
        await client.resolve(name)
    assert caught.value.metadata["halted_by"] == "tester"
    assert (await client.resolve(name, as_of=present(halted.halt).halted_at)).version.ref == (
        await client.get_version(version)
    ).ref
    assert (await client.resume(name)).halt is None
    assert (await client.resolve(name)).version.version == 1


@pytest.mark.parametrize("reason", ["", "   "])
async def test_halt_without_a_reason_is_refused(client: AsyncClient, name: str, reason: str) -> None:
    await client.create_model(name)
    with pytest.raises(errors.InvalidField) as caught:
        await client.halt(name, reason=reason)
    assert caught.value.violations[0].field == "reason"


@pytest.mark.system
async def test_refused_promotion_lists_every_gate_that_failed(client: AsyncClient, name: str, artifact: Path) -> None:
    await _promoted(client, name, artifact, metrics={"accuracy": 0.60, "log_loss": 0.60})
    candidate = await client.register(name, artifact, metrics={"accuracy": 0.57, "log_loss": 0.70})
    await client.promote(candidate, to="staging")
    now = datetime.now(UTC)
    policy = PromotionPolicy(
        name,
        metrics=(MetricRange("accuracy", at_least=0.58), MetricRange("log_loss", at_most=0.75), MetricRange("auc")),
        no_worse_than_production=(MetricMargin("accuracy", 0.05), MetricMargin("log_loss", 0.05, lower_is_better=True)),
        require_comparison=True,
        required_tags=("reviewed",),
        freezes=(FreezeWindow(now - timedelta(days=1), now + timedelta(days=1), "FOMC week"),),
        material=True,
    )
    kept = await client.set_promotion_policy(policy)
    assert await client.get_promotion_policy(name) == kept
    with pytest.raises(errors.GatesFailed) as caught:
        await client.promote(candidate, to="production", reason="it passed its tests")
    assert [gate.gate for gate in caught.value.gates] == [
        "metrics.accuracy",
        "metrics.auc",
        "no_worse_than_production.log_loss",
        "require_comparison",
        "required_tags.reviewed",
        "freezes",
        "material",
    ]
    assert caught.value.gates[0] == GateResult("metrics.accuracy", False, "accuracy 0.57 is below 0.58")
    assert "FOMC week" in caught.value.gates[5].evidence
    assert (await client.resolve(name)).version.version == 1


@pytest.mark.system
async def test_passed_gates_are_kept_with_the_transition(
    client: AsyncClient, server: RunningServer, name: str, artifact: Path
) -> None:
    candidate = await client.register(name, artifact, metrics={"accuracy": 0.6}, tags={"reviewed": "yes"})
    await client.promote(candidate, to="staging")
    await client.set_promotion_policy(
        PromotionPolicy(name, metrics=(MetricRange("accuracy", 0.5),), required_tags=("reviewed",), material=True)
    )
    with pytest.raises(errors.GatesFailed, match="another person must promote it"):
        await client.promote(candidate, to="production", dry_run=True, reason="it passed its tests")
    async with AsyncClient(server.target, actor="second person") as other:
        result = await other.promote(candidate, to="production", reason="it passed its tests")
    assert [(gate.gate, gate.passed) for gate in result.gates] == [
        ("usable", True),
        ("metrics.accuracy", True),
        ("required_tags.reviewed", True),
        ("material", True),
    ]
    assert (await collect(client.list_transitions(name)))[0].gates == result.gates


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_gates_look_at_drift_reports_and_comparisons(client: AsyncClient, name: str, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    x = {"ret": random.normal(size=400), "vol": random.normal(size=400)}
    y = (x["ret"] + random.normal(size=400) > 0).astype(int)
    (tmp_path / "model.bin").write_bytes(b"weights")
    for _ in range(2):
        version = await client.register(name, tmp_path / "model.bin", reference=x)
        await client.promote(version, to="staging")
    await client.promote(f"{name}/1", to="production", reason="it passed its tests")
    await client.set_promotion_policy(PromotionPolicy(name, require_comparison=True, forbid_drift_alarm=True))
    await client.detect_drift(f"{name}/2", {column: values * 5 for column, values in x.items()})
    with pytest.raises(errors.GatesFailed) as caught:
        await client.promote(f"{name}/2", to="production", reason="it passed its tests")
    assert [gate.gate for gate in caught.value.gates] == ["require_comparison", "forbid_drift_alarm"]
    await client.detect_drift(f"{name}/2", x)
    await client.compare([], None, y, predictions={f"{name}/1": np.roll(y, 7), f"{name}/2": y})
    promoted = await client.promote(f"{name}/2", to="production", reason="it passed its tests")
    assert "superior" in next(gate for gate in promoted.gates if gate.gate == "require_comparison").evidence
    assert all(gate.passed for gate in promoted.gates)


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        ({"metrics": (MetricRange("a", at_least=float("nan")),)}, "policy.metrics[0].at_least"),
        ({"metrics": (MetricRange("a", at_least=2, at_most=1),)}, "policy.metrics[0].at_most"),
        ({"no_worse_than_production": (MetricMargin("a", float("inf")),)}, "policy.no_worse_than_production[0].margin"),
        (
            {"freezes": (FreezeWindow(datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)),)},
            "policy.freezes[0].until",
        ),
    ],
)
async def test_policy_that_makes_no_sense_is_refused(
    client: AsyncClient, name: str, policy: dict[str, object], field: str
) -> None:
    await client.create_model(name)
    with pytest.raises(errors.InvalidField) as caught:
        await client.set_promotion_policy(PromotionPolicy(name, **policy))  # type: ignore[arg-type]
    assert [violation.field for violation in caught.value.violations] == [field]


async def test_policy_with_a_stale_etag_aborts(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    first = await client.set_promotion_policy(PromotionPolicy(name, material=True))
    await client.set_promotion_policy(PromotionPolicy(name))
    with pytest.raises(errors.EtagMismatch):
        await client.set_promotion_policy(first)


@pytest.mark.system
async def test_audit_log_of_untouched_records_is_intact(client: AsyncClient, name: str, artifact: Path) -> None:
    await _promoted(client, name, artifact)
    verdict = await client.verify_audit_log()
    assert verdict.intact
    records = await collect(client.export_audit_log())
    assert verdict.head_hash == records[-1].hash
    assert [record.sequence for record in records] == list(range(1, len(records) + 1))
    mine = [(record.kind, record.version) for record in records if record.model == name]
    assert mine == [("registered", 1), ("transition", 1), ("transition", 1)]
    part = await collect(client.export_audit_log(from_sequence=2, to_sequence=3))
    assert [record.sequence for record in part] == [2, 3]


TAMPERING = {
    "changed": ("UPDATE ledger_audit SET actor = 'somebody else' WHERE sequence = 4", [(4, "changed")]),
    "payload": ("UPDATE ledger_audit SET payload = '{}' WHERE sequence = 4", [(4, "changed")]),
    "removed": ("DELETE FROM ledger_audit WHERE sequence = 4", [(4, "missing")]),
    "cut off": ("DELETE FROM ledger_audit WHERE sequence > 5", [(6, "missing")]),
    "swapped": (
        "UPDATE ledger_audit SET sequence = CASE sequence WHEN 4 THEN -5 WHEN 5 THEN -4 END WHERE sequence IN (4, 5);"
        "UPDATE ledger_audit SET sequence = -sequence WHERE sequence < 0",
        [(4, "changed"), (5, "changed")],
    ),
}


@pytest.mark.system
@pytest.mark.parametrize("how", TAMPERING)
async def test_tampering_with_the_audit_log_is_found_and_named(tmp_path: Path, artifact: Path, how: str) -> None:
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    async with AsyncClient(running.target) as client:
        for _ in range(3):
            version = await client.register("spx", artifact)
            await client.promote(version, to="staging")
        statements, defects = TAMPERING[how]
        with running.app.ledger.writing() as session:
            for statement in statements.split(";"):
                session.execute(text(statement))
        verdict = await client.verify_audit_log()
    running.stop()
    assert not verdict.intact
    found = [(defect.sequence, defect.problem.partition(":")[0]) for defect in verdict.defects]
    assert found[: len(defects)] == defects


@pytest.mark.system
async def test_registration_after_a_promotion_starts_in_training_again(
    client: AsyncClient, name: str, artifact: Path
) -> None:
    await _promoted(client, name, artifact)
    assert (await client.register(name, artifact)).stage is Stage.TRAINING

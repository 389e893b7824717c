"""Findings: who opens, changes and closes them, and that no order of calls promotes past one that blocks."""

from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule

from modelward import Finding, FindingSeverity, FindingState, PromotionPolicy, Stage, errors
from modelward.lifecycle import GateResult
from modelward_server.lifecycle.finding_gates import finding_gate
from tests.support.desk import FILE, PEOPLE, Desk, run_on

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
WHY = "it passed its tests"


def opened(desk: Desk, name: str, **changes: Any) -> Finding:
    given = {"title": "costs are left out", "severity": "high", "owner": "quant"} | changes
    return desk.risk.open_finding(name, **given)


def block(desk: Desk, name: str, severity: FindingSeverity | None = FindingSeverity.HIGH) -> None:
    desk.founder.set_promotion_policy(PromotionPolicy(name, blocking_severity=severity))


def gate_of(error: errors.GatesFailed) -> GateResult:
    [gate] = error.gates
    return gate


def test_only_reviewers_open_and_close_findings(desk: Desk) -> None:
    name = desk.model()
    for person in ("quant", "trader", "compliance"):
        with pytest.raises(errors.RoleTooLow):
            desk.clients[person].open_finding(name, title="mine", severity="low", owner=person)
    finding = opened(desk, name, description="no costs", due=date(2027, 3, 31), remedy="add them")
    assert (finding.opened_by, finding.state, finding.due) == ("risk", FindingState.OPEN, date(2027, 3, 31))
    assert desk.quant.get_finding(finding.finding_id) == finding
    with pytest.raises(errors.RoleTooLow):
        desk.trader.close_finding(finding.finding_id, remedy="none")
    closed = desk.both.close_finding(finding.finding_id, remedy="costs of 2 bp", comment="tried on 2026")
    assert (closed.state, closed.closed_by, closed.remedy) == (FindingState.CLOSED, "both", "costs of 2 bp")
    with pytest.raises(errors.FindingClosed, match="was closed by both"):
        desk.risk.close_finding(finding.finding_id, remedy="again")
    with pytest.raises(errors.FindingClosed):
        desk.quant.update_finding(finding.finding_id, remedy="again")
    assert desk.founder.verify_audit_log().intact


def test_who_owns_or_owned_a_finding_does_not_close_it(desk: Desk) -> None:
    name = desk.model()
    finding = opened(desk, name, owner="both")
    with pytest.raises(errors.NotIndependent, match="both owns"):
        desk.both.close_finding(finding.finding_id, remedy="done")
    handed = desk.both.update_finding(finding.finding_id, owner="quant")
    assert (handed.owner, handed.former_owners) == ("quant", ("both",))
    with pytest.raises(errors.NotIndependent):
        desk.both.close_finding(finding.finding_id, remedy="done")
    assert desk.risk.close_finding(finding.finding_id, remedy="done").closed_by == "risk"


@pytest.mark.parametrize("version", [0, 1])
def test_who_registered_the_version_does_not_close_a_finding_about_it(desk: Desk, version: int) -> None:
    name = desk.model()
    desk.founder.register(name, FILE)
    finding = opened(desk, name, version=version)
    if version:
        assert desk.founder.close_finding(finding.finding_id, remedy="done").closed_by == "founder"
    else:
        with pytest.raises(errors.NotIndependent, match=f"founder registered {name}/2"):
            desk.founder.close_finding(finding.finding_id, remedy="done")


def test_the_owner_changes_a_finding_but_does_not_make_it_less_severe(desk: Desk) -> None:
    finding = opened(desk, desk.model())
    with pytest.raises(errors.RoleTooLow, match="only its owner, quant, and reviewers"):
        desk.trader.update_finding(finding.finding_id, remedy="mine")
    changed = desk.quant.update_finding(finding.finding_id, remedy="add costs", due=YESTERDAY, severity="critical")
    assert (changed.remedy, changed.due, changed.severity) == ("add costs", YESTERDAY, FindingSeverity.CRITICAL)
    with pytest.raises(errors.RoleTooLow):
        desk.quant.update_finding(finding.finding_id, severity="low")
    with pytest.raises(errors.EtagMismatch):
        desk.risk.update_finding(finding.finding_id, severity="low", etag=finding.etag)
    assert desk.risk.update_finding(finding.finding_id, severity="low", etag=changed.etag).title == finding.title


def test_a_repeated_request_opens_one_finding(desk: Desk) -> None:
    name, request_id = desk.model(), str(uuid4())
    first, second = (opened(desk, name, request_id=request_id) for _ in range(2))
    assert first == second
    assert [one.finding_id for one in desk.quant.list_findings(name)] == [first.finding_id]


def test_lists_select(desk: Desk) -> None:
    name = desk.model()
    low = opened(desk, name, severity="low", due=YESTERDAY)
    late = opened(desk, name, severity="critical", due=YESTERDAY, owner="junior", version=1)
    closed = opened(desk, name, due=YESTERDAY)
    desk.risk.close_finding(closed.finding_id, remedy="done")

    def found(**chosen: Any) -> list[str]:
        return [one.finding_id for one in desk.quant.list_findings(name, **chosen)]

    assert found() == [closed.finding_id, late.finding_id, low.finding_id]
    assert found(min_severity="high") == [closed.finding_id, late.finding_id]
    assert found(state="closed") == [closed.finding_id]
    assert found(overdue=True) == [late.finding_id, low.finding_id]
    assert found(owner="junior") == found(version=1) == [late.finding_id]
    with pytest.raises(errors.ModelNotFound):
        list(desk.quant.list_findings("nothing"))


def test_what_a_finding_names_exists(desk: Desk) -> None:
    name, rows = desk.model(), {"x": np.arange(100.0)}
    with pytest.raises(errors.VersionNotFound):
        opened(desk, name, version=9)
    with pytest.raises(errors.ModelNotFound):
        opened(desk, "nothing")
    with pytest.raises(errors.InvalidField, match=r"evidence\[0\]: 'nothing' is no comparison"):
        opened(desk, name, evidence=["nothing"])
    with pytest.raises(errors.InvalidField, match="title: is missing, or blank"):
        opened(desk, name, title="\u200b ")
    with pytest.raises(errors.FindingNotFound):
        desk.risk.close_finding("finding-of-nothing", remedy="done")
    desk.quant.set_reference(f"{name}/1", rows)
    report = desk.quant.detect_drift(f"{name}/1", rows).report_id
    assert opened(desk, name, evidence=[report]).evidence == (report,)


@pytest.mark.parametrize("version", [0, 1])
def test_an_open_finding_stops_a_promotion_until_it_is_closed(desk: Desk, version: int) -> None:
    name = desk.model()
    block(desk, name)
    opened(desk, name, severity="medium", version=version)
    finding = opened(desk, name, version=version)
    with pytest.raises(errors.GatesFailed, match=finding.finding_id) as caught:
        desk.trader.promote(f"{name}/1", to="production", reason=WHY)
    assert gate_of(caught.value).evidence.endswith("(high, of quant): costs are left out")
    desk.risk.close_finding(finding.finding_id, remedy="done")
    moved = desk.trader.promote(f"{name}/1", to="production", reason=WHY)
    assert "findings" in {gate.gate for gate in moved.gates if gate.passed}


@pytest.mark.system
def test_who_may_close_a_finding_takes_its_day_away(desk: Desk) -> None:
    name = desk.model()
    finding = opened(desk, name, due=date(2020, 1, 1))
    with pytest.raises(errors.RoleTooLow, match=f"only reviewers take away the day of {finding.finding_id}"):
        desk.quant.update_finding(finding.finding_id, no_due=True)
    own = opened(desk, name, due=date(2020, 1, 1), owner="both").finding_id
    with pytest.raises(errors.NotIndependent, match="cannot take away the day of"):
        desk.both.update_finding(own, no_due=True)
    desk.risk.close_finding(own, remedy="done")
    with pytest.raises(errors.InvalidField, match="due: is given with no_due"):
        desk.risk.update_finding(finding.finding_id, due=date(2030, 1, 1), no_due=True)
    assert desk.risk.update_finding(finding.finding_id, remedy="soon").due == finding.due
    assert desk.risk.update_finding(finding.finding_id, no_due=True).due is None
    assert not list(desk.risk.list_findings(name, overdue=True))
    assert desk.founder.verify_audit_log().intact


def test_a_finding_about_another_version_stops_none(desk: Desk) -> None:
    name = desk.model()
    desk.quant.register(name, FILE)
    block(desk, name)
    opened(desk, name, version=2)
    assert desk.trader.promote(f"{name}/1", to="production", reason=WHY).version.stage is Stage.PRODUCTION


@pytest.mark.system
def test_without_a_policy_findings_stop_nothing_and_never_a_rollback_or_a_halt(desk: Desk) -> None:
    name = desk.model()
    opened(desk, name, severity="critical")
    desk.trader.promote(desk.quant.register(name, FILE), to="staging")
    desk.trader.promote(f"{name}/1", to="production", reason=WHY)
    desk.trader.promote(f"{name}/2", to="production", reason=WHY)
    block(desk, name, FindingSeverity.LOW)
    assert str(desk.trader.rollback(name, reason="it loses").version) == f"{name}/1"
    assert desk.trader.halt(name, reason="exchange outage").halt


def test_the_evidence_names_a_few_and_counts_the_rest() -> None:
    found = [Finding(f"f{n}", "m", 0, "t", FindingSeverity.LOW, "a", "b", datetime.now(UTC)) for n in range(7)]
    gate = finding_gate(FindingSeverity.LOW, found)
    assert gate.evidence == "; ".join(["open: f0 (low, of a): t", *(f"f{n} (low, of a): t" for n in range(1, 5))]) + (
        "; and 2 more"
    )


def test_watchers_that_name_the_kind_see_each_change(desk: Desk) -> None:
    name = desk.model()
    finding = opened(desk, name)
    desk.risk.close_finding(finding.finding_id, remedy="done")
    seen = []
    for event in desk.quant.watch([name], kinds=["finding"], resume_token="0"):
        seen.append(event.subject)
        if len(seen) == 2:
            break
    assert [one.state for one in seen if isinstance(one, Finding)] == [FindingState.OPEN, FindingState.CLOSED]
    assert seen[0] == finding
    desk.trader.halt(name, reason="the last event")
    for event in desk.quant.watch([name], resume_token="0"):
        assert event.kind != "finding"
        if event.kind == "halted":
            break


class Findings(RuleBasedStateMachine):
    """Any order of calls by anybody: a version enters production only while no blocking finding is open."""

    desk: Desk
    findings = Bundle("findings")

    @initialize()
    def begin(self) -> None:
        self.name = self.desk.model()
        self.blocking = FindingSeverity.HIGH
        block(self.desk, self.name)

    @rule(severity=st.sampled_from(FindingSeverity))
    def change_policy(self, severity: FindingSeverity) -> None:
        self.blocking = severity
        block(self.desk, self.name, severity)

    @rule(
        target=findings,
        severity=st.sampled_from(FindingSeverity),
        owner=st.sampled_from(sorted(PEOPLE)),
        version=st.integers(0, 1),
    )
    def open(self, severity: FindingSeverity, owner: str, version: int) -> str:
        return opened(self.desk, self.name, severity=severity, owner=owner, version=version).finding_id

    @rule(
        finding=findings,
        person=st.sampled_from(sorted(PEOPLE)),
        severity=st.none() | st.sampled_from(FindingSeverity),
        owner=st.none() | st.sampled_from(sorted(PEOPLE)),
    )
    def update(self, finding: str, person: str, severity: FindingSeverity | None, owner: str | None) -> None:
        before = self.desk.quant.get_finding(finding)
        with suppress(errors.RoleTooLow, errors.NotIndependent, errors.FindingClosed):
            after = self.desk.clients[person].update_finding(finding, severity=severity, owner=owner)
            if after.severity not in before.severity.and_above:
                assert person in independent(before)

    @rule(finding=findings, person=st.sampled_from(sorted(PEOPLE)))
    def close(self, finding: str, person: str) -> None:
        before = self.desk.quant.get_finding(finding)
        with suppress(errors.RoleTooLow, errors.NotIndependent, errors.FindingClosed):
            self.desk.clients[person].close_finding(finding, remedy="done")
            assert person in independent(before)

    @rule()
    def promote(self) -> None:
        blocking = list(self.desk.quant.list_findings(self.name, state="open", min_severity=self.blocking))
        if blocking:
            with pytest.raises(errors.GatesFailed, match=blocking[-1].finding_id):
                self.desk.trader.promote(f"{self.name}/1", to="production", reason=WHY)
            return
        self.desk.trader.promote(f"{self.name}/1", to="production", reason=WHY)
        self.desk.trader.promote(f"{self.name}/1", to="archived")
        self.desk.trader.promote(f"{self.name}/1", to="staging")


def independent(finding: Finding) -> set[str]:
    """Return who may close a finding about a version that quant registered."""
    return {"founder", "risk", "both"} - {finding.owner, *finding.former_owners}


@pytest.mark.system
@pytest.mark.weekly
def test_no_order_of_calls_promotes_past_a_blocking_finding(desk: Desk) -> None:
    run_on(desk, Findings, examples=12)

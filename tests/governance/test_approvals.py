"""Approvals: who may decide, and what a promotion needs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from modelward import Inventory, PromotionPolicy, RequiredApproval, Stage, errors
from modelward.governance import ApprovalState
from modelward.lifecycle import EventKind
from tests.support.desk import FILE, Desk, numbers


def failed_gates(error: errors.GatesFailed) -> set[str]:
    return {gate.gate for gate in error.gates}


@pytest.mark.system
def test_a_promotion_needs_each_function_that_the_policy_lists(desk: Desk) -> None:
    name = desk.model("trading", "risk")
    with pytest.raises(errors.GatesFailed, match="request one") as caught:
        desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")
    assert failed_gates(caught.value) == {"approvals.trading", "approvals.risk"}
    request = desk.quant.request_approval(f"{name}/1", reason="better in the backtest", conditions=["half the size"])
    assert (request.state, request.waits_for) == (ApprovalState.PENDING, ("trading", "risk"))
    desk.trader.approve(request.approval_id, comment="small first")
    with pytest.raises(errors.GatesFailed, match=r"risk has not decided") as caught:
        desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")
    assert failed_gates(caught.value) == {"approvals.risk"}
    decided = desk.risk.approve(request.approval_id)
    assert (decided.state, decided.waits_for) == (ApprovalState.APPROVED, ())
    moved = desk.trader.promote(f"{name}/1", to="production", reason="Q3")
    assert {gate.gate for gate in moved.gates} >= {"approvals.trading", "approvals.risk"}
    evidence = " ".join(gate.evidence for gate in moved.gates)
    assert f"trader approved {request.approval_id}" in evidence
    assert "small first" in evidence
    used = desk.quant.get_approval(request.approval_id)
    assert (used.state, used.transition) == (ApprovalState.USED, moved.transition.sequence)
    assert desk.founder.verify_audit_log().intact


def test_each_transition_needs_an_approval_of_its_own(desk: Desk) -> None:
    name = desk.model("risk")
    request = desk.quant.request_approval(f"{name}/1", reason="first")
    desk.risk.approve(request.approval_id)
    desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")
    desk.trader.promote(f"{name}/1", to="archived")
    desk.trader.promote(f"{name}/1", to="staging")
    with pytest.raises(errors.GatesFailed, match="request one"):
        desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")


def test_nobody_decides_on_their_own(desk: Desk) -> None:
    name = desk.model("trading", "risk", "validation")
    request = desk.trader.request_approval(f"{name}/1", reason="better")
    with pytest.raises(errors.NotApprover, match="was requested by trader"):
        desk.trader.approve(request.approval_id, function="trading")
    with pytest.raises(errors.NotApprover, match="needs a client with the function risk"):
        desk.junior.approve(request.approval_id, function="risk")
    with pytest.raises(errors.NotApprover, match="needs a client with the function risk"):
        desk.founder.approve(request.approval_id, function="risk")
    with pytest.raises(errors.InvalidField, match="'compliance' is not asked"):
        desk.compliance.approve(request.approval_id, function="compliance")
    with pytest.raises(errors.InvalidField, match="function: is missing; name one of risk, validation"):
        desk.both.approve(request.approval_id)
    desk.both.approve(request.approval_id, function="risk")
    with pytest.raises(errors.NotApprover, match="for another function"):
        desk.both.approve(request.approval_id, function="validation")
    with pytest.raises(errors.ApprovalClosed, match="risk has decided"):
        desk.risk.approve(request.approval_id, function="risk")


def test_two_juniors_cannot_approve_each_other(desk: Desk) -> None:
    name = desk.model("trading")
    request = desk.quant.request_approval(f"{name}/1", reason="mine")
    with pytest.raises(errors.NotApprover, match="needs a client with one of the functions trading"):
        desk.junior.approve(request.approval_id)
    with pytest.raises(errors.NotApprover):
        desk.junior.approve(request.approval_id, function="trading")
    with pytest.raises(errors.NotApprover, match="only they or an operator"):
        desk.junior.withdraw_approval(request.approval_id)
    assert desk.quant.withdraw_approval(request.approval_id).withdrawn_by == "quant"


def test_who_registered_a_version_does_not_approve_it(desk: Desk) -> None:
    name = f"spx-{next(numbers)}"
    version = desk.trader.register(name, FILE)
    desk.trader.promote(version, to="staging")
    rule = RequiredApproval(("trading",))
    desk.founder.set_promotion_policy(PromotionPolicy(name, required_approvals=(rule,)))
    request = desk.quant.request_approval(version, reason="theirs")
    with pytest.raises(errors.NotApprover, match="which trader registered"):
        desk.trader.approve(request.approval_id)


def test_a_refusal_says_why_and_ends_the_request(desk: Desk) -> None:
    name = desk.model("risk", "trading")
    request = desk.quant.request_approval(f"{name}/1", reason="better")
    with pytest.raises(errors.InvalidField, match="comment: is missing"):
        desk.risk.reject(request.approval_id, comment=" \u200b")
    refused = desk.risk.reject(request.approval_id, comment="too concentrated")
    assert (refused.state, refused.waits_for) == (ApprovalState.REJECTED, ())
    with pytest.raises(errors.ApprovalClosed) as caught:
        desk.trader.approve(request.approval_id)
    assert caught.value.metadata["state"] == "rejected"
    with pytest.raises(errors.GatesFailed):
        desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")
    assert desk.quant.request_approval(f"{name}/1", reason="smaller now").state is ApprovalState.PENDING


@pytest.mark.system
def test_an_approval_expires(desk: Desk) -> None:
    name = desk.model("risk")
    soon = datetime.now(UTC) + timedelta(seconds=2)
    request = desk.quant.request_approval(f"{name}/1", reason="today only", expires_at=soon)
    desk.risk.approve(request.approval_id)
    while datetime.now(UTC) <= soon:
        pass
    with pytest.raises(errors.GatesFailed, match="request one"):
        desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")
    assert desk.quant.get_approval(request.approval_id).state is ApprovalState.EXPIRED
    assert [one.approval_id for one in desk.quant.list_approvals(name, state="expired")] == [request.approval_id]
    assert not list(desk.quant.list_approvals(name, state="approved"))
    with pytest.raises(errors.ApprovalClosed):
        desk.quant.withdraw_approval(request.approval_id)


@pytest.mark.system
def test_the_policy_at_the_time_of_the_promotion_counts(desk: Desk) -> None:
    name = desk.model("risk")
    request = desk.quant.request_approval(f"{name}/1", reason="better")
    desk.risk.approve(request.approval_id)
    stricter = RequiredApproval(("risk", "compliance"))
    desk.founder.set_promotion_policy(PromotionPolicy(name, required_approvals=(stricter,)))
    with pytest.raises(errors.GatesFailed, match="before compliance had to approve"):
        desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")
    desk.quant.withdraw_approval(request.approval_id)
    again = desk.quant.request_approval(f"{name}/1", reason="better")
    desk.risk.approve(again.approval_id)
    desk.compliance.approve(again.approval_id)
    assert (
        desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests").version.stage
        is Stage.PRODUCTION
    )


def test_a_policy_that_no_longer_lists_a_function_does_not_make_its_request_an_approval(desk: Desk) -> None:
    name = desk.model("risk", "trading")
    request = desk.quant.request_approval(f"{name}/1", reason="better")
    desk.trader.approve(request.approval_id)
    desk.founder.set_promotion_policy(PromotionPolicy(name, required_approvals=(RequiredApproval(("trading",)),)))
    with pytest.raises(errors.GatesFailed, match="also waits for risk"):
        desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")
    desk.founder.set_promotion_policy(PromotionPolicy(name))
    desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")
    left = desk.quant.get_approval(request.approval_id)
    assert (left.state, left.transition) == (ApprovalState.PENDING, 0)


def test_only_who_sets_the_policy_sets_a_tier_with_fewer_approvals(desk: Desk) -> None:
    name = desk.model()
    rules = (RequiredApproval(("risk", "trading"), tier=1), RequiredApproval(("risk",), tier=2))
    desk.founder.set_promotion_policy(PromotionPolicy(name, required_approvals=rules))
    desk.quant.update_model(name, inventory={"tier": 2})
    desk.quant.update_model(name, inventory={"tier": 1, "purpose": "trades the close"})
    for inventory in ({"tier": 2}, {"tier": 3}, {"tier": None}, Inventory(owners=("quant",))):
        with pytest.raises(errors.RoleTooLow, match="trading would not approve transitions to production any more"):
            desk.trader.update_model(name, inventory=inventory)
    assert desk.quant.get_model(name).inventory.tier == 1
    assert desk.founder.update_model(name, inventory={"tier": 3}).inventory.tier == 3


@pytest.mark.system
def test_a_rollback_and_a_halt_need_none(desk: Desk) -> None:
    name = desk.model()
    desk.trader.promote(f"{name}/1", to="production", reason="it passed its tests")
    second = desk.quant.register(name, FILE)
    desk.trader.promote(second, to="staging")
    desk.trader.promote(second, to="production", reason="it passed its tests")
    desk.founder.set_promotion_policy(PromotionPolicy(name, required_approvals=(RequiredApproval(("risk",)),)))
    assert str(desk.trader.rollback(name, reason="it loses").version) == f"{name}/1"
    assert desk.trader.halt(name, reason="exchange outage").halt


def test_a_stage_can_need_approval_too(desk: Desk) -> None:
    name = desk.model("validation", to=Stage.STAGING)
    with pytest.raises(errors.GatesFailed) as caught:
        desk.trader.promote(f"{name}/1", to="staging")
    assert failed_gates(caught.value) == {"approvals.validation"}
    with pytest.raises(errors.ApprovalNotNeeded):
        desk.quant.request_approval(f"{name}/1", reason="better")
    request = desk.quant.request_approval(f"{name}/1", to="staging", reason="better")
    desk.both.approve(request.approval_id)
    assert desk.trader.promote(f"{name}/1", to="staging").version.stage is Stage.STAGING


@pytest.mark.system
def test_evidence_exists_and_is_of_the_model(desk: Desk) -> None:
    name, other = desk.model("risk"), desk.model("risk")
    rows = {"x": np.arange(100.0)}
    desk.quant.set_reference(f"{name}/1", rows)
    report = desk.quant.detect_drift(f"{name}/1", rows)
    with pytest.raises(errors.InvalidField, match=r"evidence\[0\]: 'nothing' is no comparison"):
        desk.quant.request_approval(f"{name}/1", reason="better", evidence=["nothing"])
    with pytest.raises(errors.InvalidField, match=r"evidence\[0\]"):
        desk.quant.request_approval(f"{other}/1", reason="better", evidence=[report.report_id])
    request = desk.quant.request_approval(f"{name}/1", reason="better", evidence=[report.report_id])
    assert request.evidence == (report.report_id,)


def test_one_request_for_a_transition_is_open(desk: Desk) -> None:
    name = desk.model("risk")
    request = desk.quant.request_approval(f"{name}/1", reason="better")
    with pytest.raises(errors.ApprovalExists) as caught:
        desk.junior.request_approval(f"{name}/1", reason="mine")
    assert caught.value.metadata["approval_id"] == request.approval_id
    with pytest.raises(errors.EtagMismatch):
        desk.risk.approve(request.approval_id, etag="r99")
    with pytest.raises(errors.ApprovalNotFound):
        desk.risk.approve("approval-of-nothing")


def test_lists_show_who_is_waited_for(desk: Desk) -> None:
    name = desk.model("risk", "trading")
    request = desk.quant.request_approval(f"{name}/1", reason="better")
    waiting = [one.approval_id for one in desk.risk.list_approvals(waits_for="risk")]
    assert request.approval_id in waiting
    desk.risk.approve(request.approval_id)
    assert request.approval_id not in [one.approval_id for one in desk.risk.list_approvals(waits_for="risk")]
    assert [one.approval_id for one in desk.risk.list_approvals(name, waits_for="trading")] == [request.approval_id]


def test_watchers_that_name_the_kind_see_each_change(desk: Desk) -> None:
    name = desk.model("risk")
    events = desk.risk.watch([name], kinds=[EventKind.APPROVAL], changes_only=True)
    ready = desk.risk.watch([name], kinds=["state"])
    next(ready)
    request = desk.quant.request_approval(f"{name}/1", reason="better")
    desk.risk.approve(request.approval_id)
    seen: list[Any] = []
    token = "0"
    for event in desk.risk.watch([name], kinds=["approval"], resume_token=token):
        seen.append(event.subject)
        if len(seen) == 2:
            break
    assert [one.state for one in seen] == [ApprovalState.PENDING, ApprovalState.APPROVED]
    events.close()
    ready.close()


def test_a_policy_names_each_tier_once(desk: Desk) -> None:
    name = desk.model()
    twice = (RequiredApproval(("risk",)), RequiredApproval(("trading",)))
    with pytest.raises(errors.InvalidField, match=r"required_approvals\[1\].tier: repeats tier 0 for production"):
        desk.founder.set_promotion_policy(PromotionPolicy(name, required_approvals=twice))

"""No order of calls leads to production without the approvals that the policy asked for at that time."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from modelward import Client, PromotionPolicy, RequiredApproval, errors
from modelward.governance import Approval
from modelward.lifecycle import TransitionResult
from modelward_server.security import grants
from modelward_server.security.admin_session import admin_session
from tests.support.desk import FILE, PEOPLE, Desk, numbers, run_on

FUNCTIONS = ["trading", "risk", "compliance", "validation"]
REGISTRANTS = {1: "quant", 2: "trader", 3: "junior"}
"""Who registered each version."""
VERSIONS = st.sampled_from(sorted(REGISTRANTS))
NOT_NOW = (errors.GatesFailed, errors.IllegalTransition, errors.ModelHalted)


class Approvals(RuleBasedStateMachine):
    """Anybody calls anything in any order; what the policy and the tier ask for changes meanwhile."""

    desk: Desk
    requests = Bundle("requests")

    @initialize()
    def begin(self) -> None:
        self.name = f"spx-{next(numbers)}"
        for person in REGISTRANTS.values():
            self.desk.trader.promote(self.desk.clients[person].register(self.name, FILE), to="staging")
        self.tier = 0
        self.by_tier: dict[int, tuple[str, ...]] = {}
        self.entered: set[int] = set()
        """The versions that were once promoted to production, as was allowed then."""
        self.change_policy({"trading", "risk"}, 0)

    @property
    def functions(self) -> tuple[str, ...]:
        """The functions that are asked for now."""
        return self.by_tier.get(self.tier, self.by_tier.get(0, ()))

    @rule(functions=st.sets(st.sampled_from(FUNCTIONS), min_size=1), tier=st.sampled_from([0, 1]))
    def change_policy(self, functions: set[str], tier: int) -> None:
        self.by_tier[tier] = tuple(sorted(functions))
        required = tuple(RequiredApproval(asked, tier=tier) for tier, asked in self.by_tier.items())
        self.desk.founder.set_promotion_policy(PromotionPolicy(self.name, required_approvals=required))

    @rule(tier=st.sampled_from([1, 2]))
    def change_tier(self, tier: int) -> None:
        """Change the tier, which asks for other approvals; only who may set the policy may let some be left out."""
        before, self.tier = self.tier, tier
        asked = self.by_tier.get(before, self.by_tier.get(0, ()))
        try:
            self.desk.trader.update_model(self.name, inventory={"tier": tier})
        except errors.RoleTooLow:
            assert set(asked) - set(self.functions)
            self.tier = before
        else:
            assert set(asked) <= set(self.functions)

    @rule(
        target=requests,
        version=VERSIONS,
        person=st.sampled_from(["quant", "junior", "trader"]),
        lifetime=st.sampled_from([None, timedelta(seconds=1)]),
    )
    def request(self, version: int, person: str, lifetime: timedelta | None) -> str:
        ends = None if lifetime is None else datetime.now(UTC) + lifetime
        try:
            wanted = self.desk.clients[person].request_approval(
                f"{self.name}/{version}", reason="better", expires_at=ends
            )
        except errors.ApprovalExists as error:
            return error.metadata["approval_id"]
        return wanted.approval_id

    @rule(
        request=requests,
        person=st.sampled_from(sorted(PEOPLE)),
        approve=st.booleans() | st.just(True),
        function=st.sampled_from(["", *FUNCTIONS]),
    )
    def decide(self, request: str, person: str, approve: bool, function: str) -> None:
        client = self.desk.clients[person]
        with suppress(errors.NotApprover, errors.ApprovalClosed, errors.InvalidField):
            if approve:
                client.approve(request, function=function)
            else:
                client.reject(request, function=function, comment="no")

    @rule(version=VERSIONS)
    def approve_by_all(self, version: int) -> None:
        """Ask for an approval, and let whoever may give it: otherwise few versions would get that far."""
        request = self.request(version, "quant", None)
        for person, function in (("trader", "trading"), ("risk", "risk"), ("compliance", "compliance")):
            self.decide(request, person, True, function)
        self.decide(request, "both", True, "validation")

    @rule(request=consumes(requests), person=st.sampled_from(["quant", "trader"]))
    def withdraw(self, request: str, person: str) -> None:
        with suppress(errors.NotApprover, errors.ApprovalClosed):
            self.desk.clients[person].withdraw_approval(request)

    @rule(person=st.sampled_from(["risk", "compliance", "both"]))
    def replace_token(self, person: str) -> None:
        """Revoke the token of somebody who may have approved, and give out another one."""
        with admin_session(self.desk.running.settings) as (session, caller):
            for grant in grants.list_grants(session):
                if grant.name == person and grant.revoked_at is None:
                    grants.revoke(session, grant.id, caller)
        self.desk.clients[person].close()
        self.desk.clients[person] = Client(self.desk.running.target, token=self.desk.token(person))

    @rule(version=VERSIONS)
    def promote(self, version: int) -> None:
        try:
            moved = self.desk.trader.promote(f"{self.name}/{version}", to="production", reason="it passed its tests")
        except NOT_NOW:
            return
        self.check_approved(moved, version)
        self.entered.add(version)

    def check_approved(self, moved: TransitionResult, version: int) -> None:
        used = self.desk.quant.list_approvals(self.name, state="used")
        [own] = [one for one in used if one.transition == moved.transition.sequence]
        assert own.version.version == version
        assert own.expires_at is None or own.expires_at > moved.transition.moved_at
        check_independent(own, self.functions, REGISTRANTS[version])

    @rule(version=VERSIONS, to=st.sampled_from(["archived", "staging", "training"]))
    def leave(self, version: int, to: str) -> None:
        with suppress(*NOT_NOW, errors.InvalidField):
            self.desk.trader.promote(f"{self.name}/{version}", to=to)

    @rule()
    def roll_back(self) -> None:
        """Return to a version that was approved for production before; this needs no other approval."""
        with suppress(errors.NoPredecessor, *NOT_NOW):
            assert self.desk.trader.rollback(self.name, reason="it loses money").version.version in self.entered

    @rule(halted=st.booleans())
    def halt(self, halted: bool) -> None:
        act: Any = self.desk.trader.halt if halted else self.desk.trader.resume
        with suppress(errors.FailedPrecondition):
            act(self.name, reason="measured")

    @invariant()
    def only_approved_versions_are_in_production(self) -> None:
        if hasattr(self, "name"):
            assert self.desk.quant.get_model(self.name).production_version in {0, *self.entered}

    def teardown(self) -> None:
        if hasattr(self, "name"):
            opened = [one.version for one in self.desk.quant.list_approvals(self.name) if one.state.is_open]
            assert len(opened) == len(set(opened)), "one request for a transition is open"


def check_independent(approval: Approval, functions: tuple[str, ...], registrant: str) -> None:
    """Check that each function was decided by a person of its own who holds it and did not ask or register."""
    approved = {one.function: one.decided_by for one in approval.decisions if one.approved}
    assert set(approved) >= set(functions)
    assert len(set(approved.values())) == len(approved)
    assert all(one.approved for one in approval.decisions)
    for function, person in approved.items():
        assert function in PEOPLE[person][1]
        assert person not in {approval.requested_by, registrant}


@pytest.mark.system
def test_no_order_of_calls_goes_around_the_approvals(desk: Desk) -> None:
    run_on(desk, Approvals, examples=8)

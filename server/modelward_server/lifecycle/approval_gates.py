"""The promotion gates of approvals: one for each function that the policy lists."""

from collections.abc import Sequence

from modelward.governance import Approval
from modelward.lifecycle import GateResult, ModelVersion, PromotionPolicy, Stage


def functions_at(policy: PromotionPolicy, tier: int | None, to: Stage) -> tuple[str, ...]:
    """Return the functions that a policy lists for a transition of models of a tier; None: of no tier."""
    rules = {rule.tier: rule.functions for rule in policy.required_approvals if rule.to is to}
    return rules.get(tier or 0, rules.get(0, ()))


def approval_gates(
    functions: Sequence[str], to: Stage, candidate: ModelVersion, approval: Approval | None
) -> tuple[GateResult, ...]:
    """Evaluate whether each function has approved a transition.

    Args:
        functions: those that the policy lists now.
        to: the stage that is entered.
        candidate: the version.
        approval: the request for this transition that is pending or approved; None if there is none.
    """
    return tuple(_gate(function, functions, to, candidate, approval) for function in functions)


def _gate(
    function: str, functions: Sequence[str], to: Stage, candidate: ModelVersion, approval: Approval | None
) -> GateResult:
    gate = f"approvals.{function}"
    if approval is None:
        return GateResult(gate, False, f"no approval of {candidate} for {to} is open; request one (RequestApproval)")
    if function not in approval.functions:
        fix = "withdraw it and request another one"
        return GateResult(gate, False, f"{approval.approval_id} was requested before {function} had to approve; {fix}")
    decision = next((one for one in approval.decisions if one.function == function), None)
    if decision is None:
        return GateResult(gate, False, f"{function} has not decided {approval.approval_id}")
    if without_gate := [one for one in approval.waits_for if one not in functions]:
        return GateResult(gate, False, f"{approval.approval_id} also waits for {', '.join(without_gate)}")
    at = decision.decided_at.isoformat(timespec="seconds")
    comment = f": {decision.comment}" if decision.comment else ""
    return GateResult(gate, True, f"{decision.decided_by} approved {approval.approval_id} at {at}{comment}")

"""The commands about approvals."""

from pathlib import Path

from modelward import Client, PromotionPolicy, RequiredApproval
from tests.cli.conftest import Commands
from tests.support.running_server import RunningServer


def test_a_request_is_made_listed_decided_shown_and_used(
    commands: Commands, in_production: str, sdk: Client, weights: Path, server: RunningServer
) -> None:
    version = sdk.register(in_production, weights)
    sdk.promote(version, to="staging")
    rules = (RequiredApproval(("risk",)),)
    sdk.set_promotion_policy(PromotionPolicy(in_production, required_approvals=rules))
    said = commands.said("approvals", "request", version, "--reason", "better")
    [request] = sdk.list_approvals(in_production)
    assert said == f"{request.approval_id} of {version} to production is pending and waits for risk\n"
    with Client(server.target, actor="carol") as risk:
        decision = risk.approve(request.approval_id, comment="small first").decisions[0]
    [row] = commands.said("approvals", "list", version, width=200).splitlines()[2:]
    assert request.approval_id in row
    assert commands.said("approvals", "list", f"{in_production}/1") == "there is no request of approval\n"
    moved = sdk.promote(version, to="production", reason="approved")
    shown = commands.said("approvals", "show", request.approval_id)
    assert f"risk approved by carol at {decision.decided_at:%Y-%m-%d %H:%M:%S} UTC: small first" in shown
    assert f"used by change {moved.transition.sequence}" in " ".join(shown.split())

"""What was requested, found and concluded about a model or a version, for its page."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from modelward import AsyncClient
from modelward.findings import Finding, FindingState
from modelward.governance import Approval
from modelward.lifecycle import ModelVersion, Stage
from modelward.reviews import DueReview, Review
from modelward_server.console.pages.lists import first
from modelward_server.lifecycle.approval_gates import functions_at
from modelward_server.lifecycle.stages import LEGAL_MOVES

NEWEST = 5
"""The most requests and reviews on the page; their own pages have all."""
OPEN = 50
"""The most open findings."""


@dataclass(frozen=True)
class Governance:
    """What was requested, found and concluded."""

    approvals: Sequence[Approval]
    findings: Sequence[Finding]
    """Open ones; of a version also those about its model as a whole."""
    reviews: Sequence[Review]
    due: DueReview | None
    """None if no review is due."""
    may_be_requested: Sequence[Stage] = ()
    """The stages for which a version needs an approval that nobody has requested."""


async def governance_of(client: AsyncClient, model: str, version: int = 0) -> Governance:
    """Fetch what is on record about a model; with a number about that version."""
    approvals, findings, reviews, due = await asyncio.gather(
        first(client.list_approvals(model, version=version), NEWEST),
        first(client.list_findings(model, state=FindingState.OPEN), OPEN),
        first(client.list_reviews(model, version=version), NEWEST),
        first(client.list_due_reviews(model), 1),
    )
    own = [one for one in findings if not version or one.version in {0, version}]
    return Governance(approvals, own, reviews, next(iter(due), None))


async def governance_of_version(client: AsyncClient, version: ModelVersion) -> Governance:
    """Fetch what is on record about a version, and for which of its next stages an approval may be requested."""
    model, policy, found = await asyncio.gather(
        client.get_model(version.model),
        client.get_promotion_policy(version.model),
        governance_of(client, version.model, version.version),
    )
    requested = {one.to for one in found.approvals if one.state.is_open}
    stages = [to for to in LEGAL_MOVES[version.stage] if functions_at(policy, model.inventory.tier, to)]
    return replace(found, may_be_requested=[to for to in stages if to not in requested])

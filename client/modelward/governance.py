"""Dataclasses of governance: requests of approval and their decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from modelward._record import Record, quoted, sentence
from modelward.lifecycle import Stage, VersionRef


class ApprovalState(StrEnum):
    """The state of a request of approval."""

    PENDING = "pending"
    """A function has not decided yet."""
    APPROVED = "approved"
    """Every function has approved, and no transition has used it yet."""
    REJECTED = "rejected"
    """A function has refused."""
    WITHDRAWN = "withdrawn"
    """It was withdrawn."""
    EXPIRED = "expired"
    """Its time has ended."""
    USED = "used"
    """A transition has used it."""

    @property
    def is_open(self) -> bool:
        """Whether it can still lead to a transition."""
        return self in {ApprovalState.PENDING, ApprovalState.APPROVED}


@dataclass(frozen=True, repr=False)
class ApprovalDecision(Record):
    """The decision of one function about a request of approval."""

    function: str
    """The function, such as "risk"."""
    approved: bool
    """Whether it approves."""
    decided_by: str
    """Who decided."""
    decided_at: datetime
    """When, in UTC."""
    comment: str = ""
    """Why, or under which conditions."""


@dataclass(frozen=True, repr=False)
class Approval(Record):
    """The approval of a transition, by one person for each function that the promotion policy lists."""

    approval_id: str
    """Its id, given by the server."""
    version: VersionRef
    """The version."""
    digest: str
    """The SHA-256 of the version's manifest: which files are approved."""
    to: Stage
    """The stage for which it is approved: staging or production."""
    reason: str
    """Why the transition is wanted."""
    functions: Sequence[str]
    """The functions that have to decide, by the promotion policy at the time of the request."""
    requested_by: str
    """Who made the request."""
    requested_at: datetime
    """When, in UTC."""
    conditions: Sequence[str] = ()
    """What must hold for the approval, in words."""
    evidence: Sequence[str] = ()
    """Ids of comparisons and drift reports, and names of A/B tests, on which it is based."""
    expires_at: datetime | None = None
    """From then on it can neither be decided nor used; None if it does not expire."""
    decisions: Sequence[ApprovalDecision] = ()
    """The decisions, in order."""
    state: ApprovalState = ApprovalState.PENDING
    """Its state when it was read."""
    withdrawn_by: str = ""
    """Who withdrew it; empty if nobody did."""
    transition: int = 0
    """The sequence number of the transition that has used it; 0 if none has."""
    etag: str = ""
    """Changes with every change of the request."""

    @property
    def waits_for(self) -> tuple[str, ...]:
        """The functions that have not decided; empty unless it is pending."""
        decided = {decision.function for decision in self.decisions}
        pending = self.state is ApprovalState.PENDING
        return tuple(function for function in self.functions if pending and function not in decided)

    def _describe(self) -> str:
        waits = f"waits for {', '.join(self.waits_for)}" if self.waits_for else ""
        return sentence(f"{quoted(self.approval_id)}: {self.version} to {self.to}, {self.state}", waits)

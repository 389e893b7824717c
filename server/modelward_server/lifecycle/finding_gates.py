"""The promotion gate of findings: none that is open may be as severe as the policy says."""

from collections.abc import Sequence

from modelward.findings import Finding, FindingSeverity
from modelward.lifecycle import GateResult

FINDINGS = "findings"
MAX_NAMED = 5
"""Maximum number of findings that the evidence names."""


def finding_gate(blocking: FindingSeverity, findings: Sequence[Finding]) -> GateResult:
    """Evaluate whether a version has no blocking finding.

    Args:
        blocking: the severity from which findings block.
        findings: the open findings of this severity or above about the version and its model.
    """
    if not findings:
        return GateResult(FINDINGS, True, f"no finding of severity {blocking} or above is open")
    named = "; ".join(f"{one.finding_id} ({one.severity}, of {one.owner}): {one.title}" for one in findings[:MAX_NAMED])
    more = f"; and {len(findings) - MAX_NAMED} more" if len(findings) > MAX_NAMED else ""
    return GateResult(FINDINGS, False, f"open: {named}{more}")

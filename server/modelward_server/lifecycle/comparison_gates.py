"""Promotion gates on the test in a version's newest comparison: which rows it answered, and whether it leaks."""

from collections.abc import Iterator
from dataclasses import dataclass

from modelward.leaks import LeakCheck, LeakKind
from modelward.lifecycle import GateResult, ModelVersion, PromotionPolicy
from modelward.shared.figures import beside, in_words, percent


@dataclass(frozen=True)
class ComparisonEvidence:
    """What a comparison says of the test of a version."""

    source: str
    """The comparison, such as "comparison comparison-0123"."""
    coverage: float
    """The share of the rows with a label that the version answered, from 0 to 1."""
    leaks: tuple[LeakCheck, ...] = ()


def asks_for_comparison(policy: PromotionPolicy) -> bool:
    """Return whether a gate is about the test in a comparison."""
    return policy.min_coverage is not None or bool(policy.forbidden_leaks)


def comparison_gates(
    policy: PromotionPolicy, candidate: ModelVersion, found: ComparisonEvidence | None
) -> Iterator[GateResult]:
    """Evaluate the conditions on the test of a version.

    Args:
        policy: the conditions.
        candidate: the version.
        found: what its newest comparison says, if `asks_for_comparison`.
    """
    if policy.min_coverage is not None:
        yield _coverage(policy.min_coverage, candidate, found)
    yield from (_leak(kind, candidate, found) for kind in policy.forbidden_leaks)


def _leak(kind: LeakKind, candidate: ModelVersion, found: ComparisonEvidence | None) -> GateResult:
    gate = f"forbidden_leaks.{kind}"
    if found is None:
        return GateResult(gate, False, f"there is no comparison of {candidate} with checks for leaks")
    check = next((leak for leak in found.leaks if leak.kind is kind), None)
    if check is None or check.found is None:
        why = check.detail if check else "the comparison checked for none"
        return GateResult(gate, False, f"it was not checked: {why} ({found.source})")
    return GateResult(gate, not check.found, f"{check.detail} ({found.source})")


def _coverage(least: float, candidate: ModelVersion, found: ComparisonEvidence | None) -> GateResult:
    gate = "min_coverage"
    if found is None:
        return GateResult(gate, False, f"there is no comparison of {candidate} with its coverage")
    answered, bound = map(in_words, beside(found.coverage, least, percent))
    evidence = f"it answered {answered} of the rows; at least {bound} is required ({found.source})"
    return GateResult(gate, found.coverage >= least, evidence)

"""Outcomes of A/B tests in the ledger: each id counts once, even if outcomes are late or repeated."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from modelward.abtest import AbOutcome, AbTest, AbTestResult, RecordedAbOutcomes
from modelward.assignment import assign
from modelward.errors import FieldViolation, InvalidField
from modelward_server.abtest.exposures import exposed_units
from modelward_server.abtest.outcome_reader import NUMBER, read_outcomes
from modelward_server.abtest.repository import get_ab_test, running_test
from modelward_server.abtest.result import MAX_LOOKS, assess
from modelward_server.actor_context import ActorContext
from modelward_server.storage.ab_tables import AB_OUTCOMES

MAX_VIOLATIONS = 20
"""Maximum number of violations reported for one call: the trailers have room for a few thousand bytes."""


@dataclass(frozen=True)
class AssignedOutcomes:
    """Outcomes of a test with their arms, as rows to be stored."""

    test: str
    rows: Sequence[dict[str, Any]]
    outside: int
    """The number of outcomes that were left out."""


def assign_outcomes(session: Session, name: str, outcomes: Sequence[AbOutcome]) -> AssignedOutcomes:
    """Assign each outcome to its arm, outside of the transaction that stores them; assignments never change.

    An outcome is left out if its unit is not in the test and it names no variant. A named variant counts even if the
    unit was assigned another one, because it is the one that was used. The number of such units is part of the result.

    Raises:
        AbTestNotFound: the test does not exist.
        AbTestConcluded: it has been concluded.
        InvalidField: a variant or a metric does not belong to the test.
    """
    _, test = running_test(session, name)
    _check(test, outcomes)
    rows = [row for outcome in outcomes if (row := _assigned_row(test, outcome)) is not None]
    return AssignedOutcomes(name, rows, len(outcomes) - len(rows))


def record_ab_outcomes(
    session: Session, assigned_outcomes: AssignedOutcomes, actor: ActorContext
) -> RecordedAbOutcomes:
    """Store outcomes, all of them or none; of several with the same id, the first.

    Raises:
        AbTestConcluded: the test has been concluded.
    """
    test, _ = running_test(session, assigned_outcomes.test)
    known = _known(session, test.sequence, [row["outcome_id"] for row in assigned_outcomes.rows])
    new = {row["outcome_id"]: row for row in reversed(assigned_outcomes.rows) if row["outcome_id"] not in known}
    for row in new.values():
        row.update(test=test.sequence, observed_at=row["observed_at"] or actor.at)
    if new:
        session.execute(insert(AB_OUTCOMES), list(new.values()))
    test.outcomes += len(new)
    return RecordedAbOutcomes(
        recorded=len(new),
        repeated_ids=len(assigned_outcomes.rows) - len(new),
        mismatched=sum(row["mismatched"] for row in new.values()),
        outside=assigned_outcomes.outside,
    )


def _check(test: AbTest, outcomes: Sequence[AbOutcome]) -> None:
    """Validate the variants and metrics of outcomes.

    Raises:
        InvalidField: names at most `MAX_VIOLATIONS` unknown ones.
    """
    violations = [violation for i, outcome in enumerate(outcomes) for violation in _defects(test, i, outcome)]
    if violations:
        raise InvalidField(*violations[:MAX_VIOLATIONS])


def _defects(test: AbTest, i: int, outcome: AbOutcome) -> Iterator[FieldViolation]:
    variants = [variant.name for variant in test.variants]
    if outcome.variant and outcome.variant not in variants:
        yield FieldViolation(
            f"outcomes[{i}].variant", f"{outcome.variant!r} is not a variant; there are {', '.join(variants)}"
        )
    keys = [metric.key for metric in test.metrics]
    for field in ("metrics", "before"):
        for key in getattr(outcome, field).keys() - set(keys):
            yield FieldViolation(
                f"outcomes[{i}].{field}[{key!r}]", f"is not a metric of the test; there are {', '.join(keys)}"
            )


def _assigned_row(test: AbTest, outcome: AbOutcome) -> dict[str, Any] | None:
    """Return an outcome's row; None if its unit is not in the test."""
    assigned = assign(test, outcome.unit)
    if not outcome.variant and not assigned.in_test:
        return None
    variant = test.variant(outcome.variant) if outcome.variant else assigned.variant
    follows = assigned.in_test and (test.shadow or variant == assigned.variant)
    return {
        "outcome_id": outcome.outcome_id,
        "unit": outcome.unit,
        "cluster": outcome.cluster,
        "arm": test.variants.index(variant),
        "mismatched": not follows,
        "observed_at": outcome.observed_at,
        "numbers": _packed(test, outcome),
    }


def _packed(test: AbTest, outcome: AbOutcome) -> bytes:
    keys = [metric.key for metric in test.metrics]
    numbers = [values.get(key, np.nan) for values in (outcome.metrics, outcome.before) for key in keys]
    return np.array(numbers, NUMBER).tobytes()


def _known(session: Session, test: int, ids: Sequence[str]) -> set[str]:
    rows = select(AB_OUTCOMES.c.outcome_id).where(AB_OUTCOMES.c.test == test, AB_OUTCOMES.c.outcome_id.in_(ids))
    return set(session.scalars(rows))


def get_ab_result(session: Session, name: str) -> AbTestResult:
    """Return the result of a test; for a concluded one, its result at the conclusion.

    Raises:
        AbTestNotFound: the test does not exist.
    """
    test = get_ab_test(session, name)
    return test.conclusion.result if test.conclusion else result_of(session, test)


def result_of(session: Session, test: AbTest, max_looks: int = MAX_LOOKS) -> AbTestResult:
    """Compute the result of a test from all of its outcomes.

    Args:
        max_looks: the maximum number of intermediate looks in the result.
    """
    read = read_outcomes(session, test)
    result = assess(test, read.outcomes, read.units, read.mismatched, max_looks)
    exposed = zip(result.variants, exposed_units(session, test), strict=True)
    return replace(result, variants=tuple(replace(variant, exposed_units=units) for variant, units in exposed))

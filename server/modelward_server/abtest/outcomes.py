"""Outcomes of A/B tests in the ledger: each id counts once, whatever comes late or again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from modelward.abtest import AbOutcome, AbTest, AbTestResult, RecordedAbOutcomes
from modelward.assignment import assign
from modelward.errors import FieldViolation, InvalidField
from modelward_server.abtest.outcome_reader import NUMBER, read_outcomes
from modelward_server.abtest.repository import get_ab_test, running_test
from modelward_server.abtest.result import MOST_LOOKS, assess
from modelward_server.actor_context import ActorContext
from modelward_server.storage.ab_tables import AB_OUTCOMES

MOST_VIOLATIONS = 20
"""How many are told of one call: the trailers have room for a few thousand bytes."""


@dataclass(frozen=True)
class Dealt:
    """Outcomes of a test, as the rows that are to be kept."""

    test: str
    rows: Sequence[dict[str, Any]]
    outside: int
    """How many were left out."""


def deal(session: Session, name: str, outcomes: Sequence[AbOutcome]) -> Dealt:
    """Give each outcome its arm, before others wait for them to be kept; what the test says of that never changes.

    A unit that takes no part in the test and names no variant is left out. A variant that is named counts, though the
    assignment may give the unit another one: it is what happened. How many units that befell is part of the result.

    Raises:
        AbTestNotFound: there is no such test.
        AbTestConcluded: it has ended.
        InvalidField: a variant or a metric is not one of the test's.
    """
    _, test = running_test(session, name)
    _check(test, outcomes)
    rows = [row for outcome in outcomes if (row := _dealt(test, outcome)) is not None]
    return Dealt(name, rows, len(outcomes) - len(rows))


def record_ab_outcomes(session: Session, dealt: Dealt, actor: ActorContext) -> RecordedAbOutcomes:
    """Keep outcomes, all of them or none; of those with one id the first.

    Raises:
        AbTestConcluded: the test has ended.
    """
    test, _ = running_test(session, dealt.test)
    known = _known(session, test.sequence, [row["outcome_id"] for row in dealt.rows])
    new = {row["outcome_id"]: row for row in reversed(dealt.rows) if row["outcome_id"] not in known}
    for row in new.values():
        row.update(test=test.sequence, observed_at=row["observed_at"] or actor.at)
    if new:
        session.execute(insert(AB_OUTCOMES), list(new.values()))
    test.outcomes += len(new)
    return RecordedAbOutcomes(
        recorded=len(new),
        repeated_ids=len(dealt.rows) - len(new),
        mismatched=sum(row["mismatched"] for row in new.values()),
        outside=dealt.outside,
    )


def _check(test: AbTest, outcomes: Sequence[AbOutcome]) -> None:
    """Refuse what the test does not know.

    Raises:
        InvalidField: names it, `MOST_VIOLATIONS` at the most.
    """
    violations = [violation for i, outcome in enumerate(outcomes) for violation in _defects(test, i, outcome)]
    if violations:
        raise InvalidField(*violations[:MOST_VIOLATIONS])


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


def _dealt(test: AbTest, outcome: AbOutcome) -> dict[str, Any] | None:
    """Return an outcome's row; None for a unit that takes no part."""
    assigned = assign(test, outcome.unit)
    if not outcome.variant and not assigned.in_test:
        return None
    variant = test.variant(outcome.variant) if outcome.variant else assigned.variant
    follows = assigned.in_test and (test.shadow or variant == assigned.variant)
    return {
        "outcome_id": outcome.outcome_id,
        "unit": outcome.unit,
        "arm": test.variants.index(variant),
        "mismatched": not follows,
        "observed_at": outcome.observed_at,
        "numbers": _packed(test, outcome),
    }


def _packed(test: AbTest, outcome: AbOutcome) -> bytes:
    keys = [metric.key for metric in test.metrics]
    numbers = [told.get(key, np.nan) for told in (outcome.metrics, outcome.before) for key in keys]
    return np.array(numbers, NUMBER).tobytes()


def _known(session: Session, test: int, ids: Sequence[str]) -> set[str]:
    rows = select(AB_OUTCOMES.c.outcome_id).where(AB_OUTCOMES.c.test == test, AB_OUTCOMES.c.outcome_id.in_(ids))
    return set(session.scalars(rows))


def get_ab_result(session: Session, name: str) -> AbTestResult:
    """Say how a test stands; of a concluded one, how it stood then.

    Raises:
        AbTestNotFound: there is no such test.
    """
    test = get_ab_test(session, name)
    return test.conclusion.result if test.conclusion else result_of(session, test)


def result_of(session: Session, test: AbTest, most_looks: int = MOST_LOOKS) -> AbTestResult:
    """Say how a test stands, by all of its outcomes.

    Args:
        most_looks: how often to say how it stood on the way.
    """
    taken = read_outcomes(session, test)
    return assess(test, taken.outcomes, taken.units, taken.mismatched, most_looks)

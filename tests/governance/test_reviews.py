"""Reviews: who records them, when they are due, and that a review takes the reasons away."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from modelward import (
    DueReview,
    PromotionPolicy,
    Review,
    ReviewOutcome,
    ReviewTrigger,
    errors,
)
from modelward_server.lifecycle.due_reviews import list_due_reviews
from tests.support.desk import FILE, Desk

pytestmark = pytest.mark.system  # Takes seconds.

WHY = "it passed its tests"
TOMORROW = datetime.now(UTC).date() + timedelta(days=1)


def in_production(desk: Desk, versions: int = 1) -> str:
    name = desk.model()
    desk.trader.promote(f"{name}/1", to="production", reason=WHY)
    for number in range(2, versions + 1):
        promote(desk, name, number)
    return name


def promote(desk: Desk, name: str, number: int) -> None:
    desk.trader.promote(desk.quant.register(name, FILE), to="staging")
    desk.trader.promote(f"{name}/{number}", to="production", reason=WHY)


def review(desk: Desk, name: str, **changes: Any) -> Review:
    return desk.risk.record_review(name, **{"outcome": "approved", "comment": "sound"} | changes)


def due(desk: Desk, name: str) -> list[str]:
    """Return what makes the review of a model due."""
    return [reason.trigger for one in desk.quant.list_due_reviews(name) for reason in one.reasons]


def due_on(desk: Desk, name: str, day: date) -> list[DueReview]:
    """Return what is due on another day: no client can ask for it."""
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    app: Any = desk.running.app
    with app.ledger.reading() as session:
        return list(list_due_reviews(session, name, 0, "", at).items)


def test_only_independent_reviewers_record_a_review(desk: Desk) -> None:
    name = in_production(desk)
    desk.founder.register(name, FILE)
    for person in ("quant", "trader", "compliance"):
        with pytest.raises(errors.RoleTooLow):
            desk.clients[person].record_review(name, outcome="approved", comment="mine")
    with pytest.raises(errors.NotIndependent, match=f"founder registered {name}/2, and cannot review {name}"):
        desk.founder.record_review(name, outcome="approved", comment="mine")
    with pytest.raises(errors.NotIndependent):
        desk.founder.record_review(name, version=2, outcome="approved", comment="mine")
    assert desk.founder.record_review(name, version=1, outcome="rejected", comment="no").about == f"{name}/1"
    made = review(desk, name, next_review=TOMORROW)
    assert [one.outcome for one in desk.quant.list_reviews(name)] == [ReviewOutcome.APPROVED, ReviewOutcome.REJECTED]
    assert next(iter(desk.quant.list_reviews(name))) == made
    assert [one.version for one in desk.quant.list_reviews(name, version=1)] == [1]
    assert desk.founder.verify_audit_log().intact


def test_who_registered_what_is_in_production_takes_no_reason_away_by_reviewing_another_version(desk: Desk) -> None:
    name = in_production(desk)
    desk.trader.promote(desk.founder.register(name, FILE), to="staging")
    desk.trader.promote(f"{name}/2", to="production", reason=WHY)
    desk.founder.record_review(name, version=1, outcome="approved", comment="the former one was sound")
    assert due(desk, name) == [ReviewTrigger.PRODUCTION_CHANGE]
    desk.risk.record_review(name, version=1, outcome="approved", comment="so is all that followed")
    assert due(desk, name) == []


def test_a_review_is_complete(desk: Desk) -> None:
    name = in_production(desk)
    with pytest.raises(errors.InvalidField, match="conditions: is missing"):
        review(desk, name, outcome="approved_with_conditions")
    with pytest.raises(errors.InvalidField, match="conditions: must be empty for the outcome approved"):
        review(desk, name, conditions=["half the size"])
    with pytest.raises(errors.InvalidField, match="must be later than today"):
        review(desk, name, next_review=datetime.now(UTC).date())
    with pytest.raises(errors.InvalidField, match=r"evidence\[0\]"):
        review(desk, name, evidence=["nothing"])
    with pytest.raises(errors.VersionNotFound):
        review(desk, name, version=9)
    with pytest.raises(errors.ModelNotFound):
        list(desk.quant.list_due_reviews("nothing"))
    with_conditions = {"outcome": "approved_with_conditions", "conditions": ["half the size"]}
    assert review(desk, name, **with_conditions).conditions == ("half the size",)


def test_a_repeated_request_records_one_review(desk: Desk) -> None:
    name, request_id = in_production(desk), str(uuid4())
    assert review(desk, name, request_id=request_id) == review(desk, name, request_id=request_id)
    assert len(list(desk.quant.list_reviews(name))) == 1


def test_what_is_not_in_production_is_not_due(desk: Desk) -> None:
    name = desk.model()
    desk.trader.halt(name, reason="too early")
    assert due(desk, name) == []


def test_the_first_review_is_due_a_year_after_production_and_the_next_a_year_after_it(desk: Desk) -> None:
    name, today = in_production(desk), datetime.now(UTC).date()
    assert due(desk, name) == []
    [first] = due_on(desk, name, today + timedelta(days=366))
    assert [reason.trigger for reason in first.reasons] == [ReviewTrigger.DATE]
    assert "follows it entered production" in first.reasons[0].summary
    assert due_on(desk, name, today + timedelta(days=364)) == []
    made = review(desk, name)
    [second] = due_on(desk, name, today + timedelta(days=366))
    assert (second.last_review_id, second.last_reviewed_at) == (made.review_id, made.reviewed_at)


def test_the_policy_and_the_last_review_say_when(desk: Desk) -> None:
    name, today = in_production(desk), datetime.now(UTC).date()
    desk.founder.set_promotion_policy(PromotionPolicy(name, review_interval=timedelta(days=30)))
    review(desk, name)
    assert due_on(desk, name, today + timedelta(days=29)) == []
    assert due_on(desk, name, today + timedelta(days=31))
    review(desk, name, next_review=today + timedelta(days=90))
    assert due_on(desk, name, today + timedelta(days=89)) == []
    [found] = due_on(desk, name, today + timedelta(days=90))
    assert found.reasons[0].since.date() == today + timedelta(days=90)


def drift(desk: Desk, name: str) -> None:
    random = np.random.default_rng(22)
    desk.quant.set_reference(f"{name}/1", {"x": random.normal(size=1000)})
    observer = desk.quant.observe(f"{name}/1", sender="engine", rows=100, alarm_after=1, alarm_of=1)
    assert observer.add({"x": random.normal(4.0, 3.0, size=100)}).alarm


def conclude(desk: Desk, name: str) -> None:
    arms = {"champion": f"{name}/1", "other": str(desk.quant.register(name, FILE))}
    test = desk.trader.create_ab_test(name, arms, primary_metric="pnl")
    desk.trader.conclude_ab_test(test, winner="champion", reason="no time")


CHANGES: dict[ReviewTrigger, Callable[[Desk, str], object]] = {
    ReviewTrigger.HALT: lambda desk, name: desk.trader.halt(name, reason="exchange outage"),
    ReviewTrigger.POLICY: lambda desk, name: desk.founder.set_promotion_policy(PromotionPolicy(name)),
    ReviewTrigger.PRODUCTION_CHANGE: lambda desk, name: promote(desk, name, 2),
    ReviewTrigger.AB_CONCLUSION: conclude,
    ReviewTrigger.DRIFT_ALARM: drift,
}


@pytest.mark.parametrize("reviewed", [False, True])
@pytest.mark.parametrize("trigger", CHANGES)
def test_a_change_makes_a_review_due_until_it_is_recorded(desk: Desk, trigger: ReviewTrigger, reviewed: bool) -> None:
    name = in_production(desk)
    if reviewed:
        review(desk, name, version=1)
    assert due(desk, name) == []
    CHANGES[trigger](desk, name)
    assert trigger in due(desk, name)
    review(desk, name)
    assert due(desk, name) == []


def test_a_rollback_makes_a_review_due(desk: Desk) -> None:
    name = in_production(desk, versions=2)
    review(desk, name)
    desk.trader.rollback(name, reason="it loses")
    [found] = desk.quant.list_due_reviews(name)
    assert [(one.trigger, one.summary) for one in found.reasons] == [
        (ReviewTrigger.ROLLBACK, "rolled back to version 1 by trader")
    ]
    assert found.version == 1


def test_with_a_limit_only_more_changes_than_it_make_a_review_due(desk: Desk) -> None:
    name = in_production(desk)
    desk.founder.set_promotion_policy(PromotionPolicy(name, max_production_changes=2))
    review(desk, name)
    promote(desk, name, 2)
    promote(desk, name, 3)
    assert due(desk, name) == []
    promote(desk, name, 4)
    [found] = desk.quant.list_due_reviews(name)
    assert [one.summary for one in found.reasons] == ["3 versions entered production since; the policy allows 2"]
    assert found.reasons[0].trigger is ReviewTrigger.CUMULATIVE_CHANGE


def test_all_models_that_are_due_are_listed_by_name(desk: Desk) -> None:
    halted, other = in_production(desk), in_production(desk)
    for reason in ("first", "second"):
        desk.trader.halt(halted, reason=reason)
    found = {one.model: one for one in desk.quant.list_due_reviews()}
    assert halted in found
    assert other not in found
    assert found[halted].reasons[0].summary == "it was halted by trader, and 1 more since"
    assert list(found) == sorted(found)

"""Which models in production are due for a review, and why.

A review of a model, or of any of its versions, is the point from which changes count; before the first one it is the
transition by which the model first entered production. Only records after that point are read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from modelward.lifecycle import Page, PromotionPolicy, Stage
from modelward.reviews import DueReview, Review, ReviewReason, ReviewTrigger
from modelward_server.lifecycle.inventory import inventory_of
from modelward_server.lifecycle.policies import get_policy
from modelward_server.lifecycle.repository import IN_PRODUCTION, model_row
from modelward_server.lifecycle.reviews import to_review
from modelward_server.storage.audit import Kind
from modelward_server.storage.paging import Key, fetch_page
from modelward_server.storage.review_tables import ReviewRow
from modelward_server.storage.tables import AuditRow, TransitionRow, VersionRow

DEFAULT_INTERVAL = timedelta(days=365)
TRIGGERS = {
    Kind.DRIFT_ALARM: ReviewTrigger.DRIFT_ALARM,
    Kind.PERFORMANCE_ALARM: ReviewTrigger.PERFORMANCE_ALARM,
    Kind.POLICY: ReviewTrigger.POLICY,
    Kind.DRIFT_POLICY: ReviewTrigger.POLICY,
    Kind.RETRAINING_POLICY: ReviewTrigger.POLICY,
    Kind.HALTED: ReviewTrigger.HALT,
    Kind.AB_TEST_CONCLUDED: ReviewTrigger.AB_CONCLUSION,
}
"""The kinds of audit records that make a review due; transitions do too."""
WORDS = {
    Kind.DRIFT_ALARM: "live data drifted",
    Kind.PERFORMANCE_ALARM: "the performance declined",
    Kind.POLICY: "the promotion policy was set",
    Kind.DRIFT_POLICY: "the drift policy was set",
    Kind.RETRAINING_POLICY: "the retraining policy was set",
    Kind.HALTED: "it was halted",
    Kind.AB_TEST_CONCLUDED: "an A/B test was concluded",
}


@dataclass(frozen=True)
class _Point:
    """The point from which changes of a model count."""

    sequence: int
    at: datetime
    review: Review | None


def list_due_reviews(session: Session, model: str, page_size: int, page_token: str, now: datetime) -> Page[DueReview]:
    """Return those of a page of the models in production whose review is due, by name.

    Raises:
        ModelNotFound: the model does not exist.
    """
    rows = select(VersionRow).where(IN_PRODUCTION)
    if model:
        model_row(session, model)
        rows = rows.where(VersionRow.model == model)
    page = fetch_page(session, rows, [Key(VersionRow.model)], page_size, page_token, ("due reviews", model))
    found = (_due_review(session, row, now) for row in page.items)
    return Page(tuple(due for due in found if due.reasons), page.next_page_token)


def _due_review(session: Session, row: VersionRow, now: datetime) -> DueReview:
    point, policy = _point(session, row.model), get_policy(session, row.model)
    reasons = (
        *_by_date(point, policy, inventory_of(model_row(session, row.model)).next_review, now),
        *_by_records(session, row.model, point),
        *_by_transitions(session, row.model, point, policy),
    )
    last = point.review
    return DueReview(
        row.model,
        row.version,
        tuple(sorted(reasons, key=lambda reason: reason.since)),
        last.review_id if last else "",
        last.reviewed_at if last else None,
    )


def _point(session: Session, model: str) -> _Point:
    last = session.scalar(
        select(ReviewRow).where(ReviewRow.model == model).order_by(ReviewRow.sequence.desc()).limit(1)
    )
    if last is not None:
        review = to_review(last)
        return _Point(last.sequence, review.reviewed_at, review)
    entered = _entries(model).order_by(TransitionRow.sequence).limit(1)
    first = session.scalars(entered).one()
    return _Point(first.sequence, first.moved_at, None)


def _entries(model: str) -> Select[TransitionRow]:
    return select(TransitionRow).where(TransitionRow.model == model, TransitionRow.to_stage == Stage.PRODUCTION)


def _by_date(point: _Point, policy: PromotionPolicy, stated: date | None, now: datetime) -> Iterator[ReviewReason]:
    """Yield the reason of a day that has come: the next one that is stated, or else by the policy's interval."""
    named = point.review.next_review if point.review else None
    later = [day for day in (named, stated) if day is not None and day > point.at.date()]
    since = (
        datetime.combine(min(later), time(), UTC) if later else point.at + (policy.review_interval or DEFAULT_INTERVAL)
    )
    if since <= now:
        before = "the last one" if point.review else "it entered production"
        why = "was set for that day" if later else f"follows {before} of {point.at.date()}"
        yield ReviewReason(ReviewTrigger.DATE, since, f"the review of {since.date()} {why}")


def _by_records(session: Session, model: str, point: _Point) -> Iterator[ReviewReason]:
    first = func.min(AuditRow.sequence)
    counted = select(first, func.count()).where(
        AuditRow.model == model, AuditRow.sequence > point.sequence, AuditRow.kind.in_(TRIGGERS)
    )
    for sequence, count in session.execute(counted.group_by(AuditRow.kind)).all():
        row = session.get_one(AuditRow, sequence)
        kind = Kind(row.kind)
        about = f" (version {row.version})" if row.version else ""
        yield ReviewReason(TRIGGERS[kind], row.happened_at, f"{WORDS[kind]} by {row.actor}{about}{_more(count)}")


def _by_transitions(session: Session, model: str, point: _Point, policy: PromotionPolicy) -> Iterator[ReviewReason]:
    entries = session.scalars(
        _entries(model).where(TransitionRow.sequence > point.sequence).order_by(TransitionRow.sequence)
    ).all()
    back = [one for one in entries if one.from_stage == Stage.ARCHIVED]
    if back:
        yield ReviewReason(ReviewTrigger.ROLLBACK, back[0].moved_at, _moved("rolled back to", back))
    limit = policy.max_production_changes
    if limit is None:
        promoted = [one for one in entries if one.from_stage != Stage.ARCHIVED]
        if promoted:
            yield ReviewReason(ReviewTrigger.PRODUCTION_CHANGE, promoted[0].moved_at, _moved("promoted to", promoted))
    elif len(entries) > limit:
        summary = f"{len(entries)} versions entered production since; the policy allows {limit}"
        yield ReviewReason(ReviewTrigger.CUMULATIVE_CHANGE, entries[limit].moved_at, summary)


def _moved(verb: str, moves: list[TransitionRow]) -> str:
    first = moves[0]
    return f"{verb} version {first.version} by {first.actor}{_more(len(moves))}"


def _more(count: int) -> str:
    return f", and {count - 1} more since" if count > 1 else ""

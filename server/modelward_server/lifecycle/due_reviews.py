"""Which models in production are due for a review, and why.

A review of a model, or of any of its versions, by somebody who has not registered the one in production is the point
from which changes count; before the first one it is the transition by which the model first entered production. Only
records after that point are read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from modelward.lifecycle import Page, PromotionPolicy, Stage, VersionRef
from modelward.reviews import DueReview, Review, ReviewReason, ReviewTrigger
from modelward_server.lifecycle.inventory import inventory_of
from modelward_server.lifecycle.policies import get_policy
from modelward_server.lifecycle.repository import IN_PRODUCTION, model_row, to_version, version_row
from modelward_server.lifecycle.reviews import to_review
from modelward_server.storage.audit import Kind, last_sequence
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
ALARMS = {Kind.DRIFT_ALARM, Kind.PERFORMANCE_ALARM}
"""Those that nobody made: their actor sent the data."""
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
class ProductionState:
    """What decides whether the review of a model in production is due, as it stood at a time.

    Args:
        model: the model's name.
        version: the version in production.
        policy: the promotion policy.
        stated: the next review by the inventory; None if it states none.
        last: the sequence number of the last record that counts.
        at: the time.
    """

    model: str
    version: int
    policy: PromotionPolicy
    stated: date | None
    last: int
    at: datetime


@dataclass(frozen=True)
class ReviewState:
    """Whether the review of a model is due, and the time from which its day makes it due."""

    due: DueReview
    next: datetime


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
    last = last_sequence(session)
    found = (review_state(session, _state(session, row, last, now)).due for row in page.items)
    return Page(tuple(due for due in found if due.reasons), page.next_page_token)


def _state(session: Session, row: VersionRow, last: int, now: datetime) -> ProductionState:
    stated = inventory_of(model_row(session, row.model)).next_review
    return ProductionState(row.model, row.version, get_policy(session, row.model), stated, last, now)


def review_state(session: Session, of: ProductionState) -> ReviewState:
    """Return whether the review of a model was due at a time, with the reasons, and when its next one is."""
    point = _point(session, of)
    reasons = (*_by_date(point, of), *_by_records(session, of, point), *_by_transitions(session, of, point))
    last = point.review
    due = DueReview(
        of.model,
        of.version,
        tuple(sorted(reasons, key=lambda reason: reason.since)),
        last.review_id if last else "",
        last.reviewed_at if last else None,
    )
    return ReviewState(due, _next(point, of))


def _point(session: Session, of: ProductionState) -> _Point:
    rows = select(ReviewRow).where(ReviewRow.model == of.model, ReviewRow.sequence <= of.last)
    registrants = to_version(version_row(session, VersionRef(of.model, of.version))).registrants
    for row in session.scalars(rows.order_by(ReviewRow.sequence.desc())):
        # Whoever registered the version in production may review others, which says nothing of that one.
        if (review := to_review(row)).reviewed_by not in registrants:
            return _Point(row.sequence, review.reviewed_at, review)
    first = session.scalars(_entries(of).order_by(TransitionRow.sequence).limit(1)).one()
    return _Point(first.sequence, first.moved_at, None)


def _entries(of: ProductionState) -> Select[TransitionRow]:
    entered = TransitionRow.to_stage == Stage.PRODUCTION
    return select(TransitionRow).where(TransitionRow.model == of.model, entered, TransitionRow.sequence <= of.last)


def _named_days(point: _Point, of: ProductionState) -> list[date]:
    """Return the days of the next review that the last one and the inventory state, as far as they follow it."""
    named = point.review.next_review if point.review else None
    return [day for day in (named, of.stated) if day is not None and day > point.at.date()]


def _next(point: _Point, of: ProductionState) -> datetime:
    """Return when the next review is due: on the first day that is stated, or else by the policy's interval."""
    if days := _named_days(point, of):
        return datetime.combine(min(days), time(), UTC)
    return point.at + (of.policy.review_interval or DEFAULT_INTERVAL)


def _by_date(point: _Point, of: ProductionState) -> Iterator[ReviewReason]:
    since = _next(point, of)
    if since <= of.at:
        before = "the last one" if point.review else "it entered production"
        why = "was set for that day" if _named_days(point, of) else f"follows {before} of {point.at.date()}"
        yield ReviewReason(ReviewTrigger.DATE, since, f"the review of {since.date()} {why}")


def _by_records(session: Session, of: ProductionState, point: _Point) -> Iterator[ReviewReason]:
    first, since_then = func.min(AuditRow.sequence), AuditRow.sequence.between(point.sequence + 1, of.last)
    counted = select(first, func.count()).where(AuditRow.model == of.model, since_then, AuditRow.kind.in_(TRIGGERS))
    for sequence, count in session.execute(counted.group_by(AuditRow.kind)).all():
        row = session.get_one(AuditRow, sequence)
        kind = Kind(row.kind)
        by = "" if kind in ALARMS else f" by {row.actor}"
        about = f" (version {row.version})" if row.version else ""
        yield ReviewReason(TRIGGERS[kind], row.happened_at, f"{WORDS[kind]}{by}{about}{_more(count)}")


def _by_transitions(session: Session, of: ProductionState, point: _Point) -> Iterator[ReviewReason]:
    entries = session.scalars(
        _entries(of).where(TransitionRow.sequence > point.sequence).order_by(TransitionRow.sequence)
    ).all()
    back = [one for one in entries if one.from_stage == Stage.ARCHIVED]
    if back:
        yield ReviewReason(ReviewTrigger.ROLLBACK, back[0].moved_at, _moved("rolled back to", back))
    limit = of.policy.max_production_changes
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

"""Reviews of models and versions by people who did not register them."""

from dataclasses import replace
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import Page, VersionRef
from modelward.reviews import Review, ReviewOutcome
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.evidence import check_evidence
from modelward_server.lifecycle.independence import check_not_developer
from modelward_server.lifecycle.repository import check_etag, check_version, etag, model_row
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.documents import REVIEW
from modelward_server.storage.paging import Key, fetch_page
from modelward_server.storage.review_tables import ReviewRow


def record_review(session: Session, wanted: Review, expected_etag: str, actor: ActorContext) -> Review:
    """Store a review.

    Args:
        session: the transaction.
        wanted: the review; the server sets its id and author.
        expected_etag: the etag of the model on which the review is based; empty for any.
        actor: its author.

    Raises:
        ModelNotFound, VersionNotFound: the model or the version does not exist.
        EtagMismatch: the model has changed since `expected_etag` was read.
        NotIndependent: the author has developed what is reviewed.
        InvalidField: the evidence, the conditions or the day of the next review do not fit.
    """
    check_etag(expected_etag, etag(model_row(session, wanted.model, lock=bool(expected_etag))))
    if wanted.version:
        check_version(session, VersionRef(wanted.model, wanted.version))
    review = replace(wanted, review_id=f"review-{uuid4().hex[:16]}", reviewed_by=actor.name, reviewed_at=actor.at)
    _check(review)
    check_evidence(session, review.model, review.evidence)
    check_not_developer(session, review.model, review.version, actor.name, f"review {review.about}")
    sequence = audit.append(session, Kind.REVIEW, review.model, review, actor, review.version)
    row = ReviewRow(sequence=sequence, review_id=review.review_id, model=review.model, version=review.version)
    row.found = REVIEW.dump(review)
    session.add(row)
    return review


def list_reviews(session: Session, of: VersionRef, page_size: int, page_token: str) -> Page[Review]:
    """Return a page of reviews, the newest first.

    Args:
        session: the transaction.
        of: only those of this version; of all models without a name, of the model and all versions with the number 0.
        page_size, page_token: see `fetch_page`.

    Raises:
        ModelNotFound: the model does not exist.
    """
    rows = select(ReviewRow)
    if of.model:
        model_row(session, of.model)
        rows = rows.where(ReviewRow.model == of.model)
    if of.version:
        rows = rows.where(ReviewRow.version == of.version)
    keys = [Key(ReviewRow.sequence, descending=True)]
    page = fetch_page(session, rows, keys, page_size, page_token, ("reviews", of.model, of.version))
    return Page(tuple(map(to_review, page.items)), page.next_page_token)


def to_review(row: ReviewRow) -> Review:
    """Return the review of a row."""
    return REVIEW.load(row.found)


def _check(review: Review) -> None:
    with_conditions = review.outcome is ReviewOutcome.APPROVED_WITH_CONDITIONS
    if with_conditions and not review.conditions:
        raise InvalidField(FieldViolation("conditions", "is missing; say under which conditions it is approved"))
    if review.conditions and not with_conditions:
        fix = f"must be empty for the outcome {review.outcome}; approved_with_conditions has conditions"
        raise InvalidField(FieldViolation("conditions", fix))
    if review.next_review is not None and review.next_review <= review.reviewed_at.date():
        raise InvalidField(FieldViolation("next_review", f"{review.next_review} must be later than today"))

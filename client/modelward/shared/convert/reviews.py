"""Convert reviews between dataclasses and messages."""

from __future__ import annotations

from modelward.reviews import DueReview, Review, ReviewOutcome, ReviewReason, ReviewTrigger
from modelward.shared.convert.common import time_from_proto, time_to_proto
from modelward.shared.convert.findings import day_from_proto, day_to_proto
from modelward.v1 import reviews_pb2 as pb

OUTCOMES = {one: pb.ReviewOutcome.Value(f"REVIEW_OUTCOME_{one.name}") for one in ReviewOutcome}
TRIGGERS = {one: pb.ReviewTrigger.Value(f"REVIEW_TRIGGER_{one.name}") for one in ReviewTrigger}


def outcome_from_proto(value: pb.ReviewOutcome.ValueType) -> ReviewOutcome:
    """Convert an outcome; one that only newer servers know approves nothing."""
    return next((one for one, known in OUTCOMES.items() if known == value), ReviewOutcome.REJECTED)


def review_to_proto(review: Review) -> pb.Review:
    return pb.Review(
        review_id=review.review_id,
        model=review.model,
        version=review.version,
        outcome=OUTCOMES[review.outcome],
        comment=review.comment,
        conditions=review.conditions,
        evidence=review.evidence,
        next_review=day_to_proto(review.next_review),
        reviewed_by=review.reviewed_by,
        reviewed_at=time_to_proto(review.reviewed_at),
    )


def review_from_proto(message: pb.Review) -> Review:
    return Review(
        review_id=message.review_id,
        model=message.model,
        version=message.version,
        outcome=outcome_from_proto(message.outcome),
        comment=message.comment,
        reviewed_by=message.reviewed_by,
        reviewed_at=time_from_proto(message.reviewed_at),
        conditions=tuple(message.conditions),
        evidence=tuple(message.evidence),
        next_review=day_from_proto(message.next_review, "review.next_review"),
    )


def reason_to_proto(reason: ReviewReason) -> pb.ReviewReason:
    return pb.ReviewReason(trigger=TRIGGERS[reason.trigger], since=time_to_proto(reason.since), summary=reason.summary)


def reasons_from_proto(message: pb.ReviewReason) -> list[ReviewReason]:
    """Convert a reason; none for one that only newer servers know."""
    since = time_from_proto(message.since)
    return [ReviewReason(one, since, message.summary) for one, known in TRIGGERS.items() if known == message.trigger]


def due_review_to_proto(due: DueReview) -> pb.DueReview:
    return pb.DueReview(
        model=due.model,
        version=due.version,
        reasons=map(reason_to_proto, due.reasons),
        last_review_id=due.last_review_id,
        last_reviewed_at=time_to_proto(due.last_reviewed_at),
    )


def due_review_from_proto(message: pb.DueReview) -> DueReview:
    return DueReview(
        model=message.model,
        version=message.version,
        reasons=tuple(reason for one in message.reasons for reason in reasons_from_proto(one)),
        last_review_id=message.last_review_id,
        last_reviewed_at=time_from_proto(message.last_reviewed_at) if message.HasField("last_reviewed_at") else None,
    )

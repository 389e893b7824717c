"""Dataclasses of reviews: what they concluded, and when the next one is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from modelward._record import Record, quoted, sentence


class ReviewOutcome(StrEnum):
    """What a review concluded."""

    APPROVED = "approved"
    """The model may be used."""
    APPROVED_WITH_CONDITIONS = "approved_with_conditions"
    """It may be used under the conditions."""
    REJECTED = "rejected"
    """It should not be used."""


class ReviewTrigger(StrEnum):
    """What makes a review due: a date, or a change since the last review; before the first one, since production."""

    DATE = "date"
    """The day of the next review has come."""
    DRIFT_ALARM = "drift_alarm"
    """Live data drifted from the training data."""
    PERFORMANCE_ALARM = "performance_alarm"
    """The performance declined."""
    POLICY = "policy"
    """A policy of the model was set: of promotion, drift or retraining."""
    PRODUCTION_CHANGE = "production_change"
    """Another version entered production."""
    ROLLBACK = "rollback"
    """The version in production was rolled back."""
    HALT = "halt"
    """The model was halted."""
    AB_CONCLUSION = "ab_conclusion"
    """An A/B test was concluded."""
    CUMULATIVE_CHANGE = "cumulative_change"
    """More versions entered production than the policy allows between two reviews."""


@dataclass(frozen=True, repr=False)
class Review(Record):
    """A review of a model, or of one of its versions, by somebody who did not develop it."""

    review_id: str
    """Its id, given by the server."""
    model: str
    """The model."""
    version: int
    """The number of the version; 0 for the model."""
    outcome: ReviewOutcome
    """What it concluded."""
    comment: str
    """Why."""
    reviewed_by: str
    """Who made it."""
    reviewed_at: datetime
    """When it was recorded, in UTC."""
    conditions: Sequence[str] = ()
    """What must hold, in words, when it approved with conditions."""
    evidence: Sequence[str] = ()
    """Ids of comparisons and drift reports, and names of A/B tests, on which it is based."""
    next_review: date | None = None
    """The day on which the next review is due; None: by the model's policy."""

    @property
    def about(self) -> str:
        """The model, or the version, such as "spx-trend/3"."""
        return f"{self.model}/{self.version}" if self.version else self.model

    def _describe(self) -> str:
        return sentence(f"{quoted(self.review_id)}: {self.about}, {self.outcome} by {self.reviewed_by}", self.comment)


@dataclass(frozen=True, repr=False)
class ReviewReason(Record):
    """Why the review of a model is due."""

    trigger: ReviewTrigger
    """What makes it due."""
    since: datetime
    """Since when, in UTC."""
    summary: str
    """The reason in words."""


@dataclass(frozen=True, repr=False)
class DueReview(Record):
    """A model in production whose review is due."""

    model: str
    """The model's name."""
    version: int
    """The version in production."""
    reasons: Sequence[ReviewReason]
    """Why it is due, in the order in which the reasons arose."""
    last_review_id: str = ""
    """The last review of the model or of one of its versions; empty if there was none."""
    last_reviewed_at: datetime | None = None
    """When that was recorded, in UTC; None if there was none."""

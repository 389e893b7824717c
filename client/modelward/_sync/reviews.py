# Derived from modelward/_async/reviews.py by client/unasync.py: change that one.
"""Client methods for reviews of models."""

from collections.abc import Sequence
from datetime import date

from modelward._sync.connection import Connection
from modelward.paging import Pager
from modelward.reviews import DueReview, Review, ReviewOutcome
from modelward.shared.convert.findings import day_to_proto
from modelward.shared.convert.reviews import OUTCOMES, due_review_from_proto, review_from_proto
from modelward.v1 import governance_pb2 as pb

PAGE_SIZE = 200


class Reviews(Connection):
    """Reviews of models, and which are due."""

    def record_review(
        self,
        model: str,
        *,
        outcome: ReviewOutcome | str,
        comment: str,
        version: int = 0,
        conditions: Sequence[str] = (),
        evidence: Sequence[str] = (),
        next_review: date | None = None,
        etag: str = "",
        request_id: str = "",
    ) -> Review:
        """Record a review of a model, or of one of its versions.

        Args:
            model: the model's name.
            outcome: what it concluded: approved, approved_with_conditions or rejected.
            comment: why.
            version: the number of the version; 0 for the model.
            conditions: what must hold, in words, for an approval with conditions.
            evidence: ids of comparisons and drift reports, and names of A/B tests, on which it is based.
            next_review: the day on which the next review is due; by the model's policy when None.
            etag: the model's expected etag; empty accepts any.
            request_id: a UUID that you choose; a repeated call with the same one makes the change only once.

        Returns:
            The review.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
            EtagMismatch: the model changed since `etag` was read.
            NotIndependent: the caller registered the version; of a review of the model, one of its versions.
            InvalidField: the evidence does not exist, the conditions are missing or not needed, or the next review is
                not later than today.

        Examples:
            >>> model = mw.create_model("spx-reviewed")
            >>> review = mw.record_review("spx-reviewed", outcome="approved", comment="sound, and well tested")
            >>> print(review.outcome)
            approved
        """
        request = pb.RecordReviewRequest(
            model=model,
            version=version,
            outcome=OUTCOMES[ReviewOutcome(outcome)],
            comment=comment,
            conditions=conditions,
            evidence=evidence,
            next_review=day_to_proto(next_review),
            etag=etag,
            request_id=request_id,
        )
        return review_from_proto((self._call(self._governance.RecordReview, request)).review)

    def list_reviews(self, model: str = "", *, version: int = 0) -> Pager[Review]:
        """List reviews, the newest first.

        Args:
            model: only those of this model and its versions; all when empty.
            version: only those of this version of the model; 0 for all.

        Returns:
            The reviews; their pages are fetched as they are needed.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.ListReviewsRequest(model=model, version=version, page_size=PAGE_SIZE)
        return self._list(self._governance.ListReviews, request, "reviews", review_from_proto)

    def list_due_reviews(self, model: str = "") -> Pager[DueReview]:
        """List the models in production whose review is due, with the reasons, by name.

        A review is due on the day that the last one named, or else when the policy's `review_interval` has passed since
        the last one; and after an alarm, a policy, a change of production, a rollback, a halt or the conclusion of an
        A/B test since then. Before the first review, these count from when the model entered production.

        Args:
            model: only this model; all when empty.

        Returns:
            The models; their pages are fetched as they are needed.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.ListDueReviewsRequest(model=model, page_size=PAGE_SIZE)
        return self._list(self._governance.ListDueReviews, request, "due_reviews", due_review_from_proto)

"""The governance service's methods for reviews: convert, call, convert."""

from datetime import UTC, datetime

from modelward.lifecycle import VersionRef
from modelward.reviews import Review
from modelward.shared.convert.findings import day_from_proto
from modelward.shared.convert.reviews import due_review_to_proto, outcome_from_proto, review_to_proto
from modelward.v1 import governance_pb2 as pb
from modelward.v1.governance_pb2_grpc import GovernanceServiceServicer
from modelward_server.lifecycle.due_reviews import list_due_reviews
from modelward_server.lifecycle.reviews import list_reviews, record_review
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork


class ReviewServicer(GovernanceServiceServicer):
    """Methods that record and list reviews, and those that are due."""

    _unit_of_work: RequestUnitOfWork

    async def RecordReview(self, request: pb.RecordReviewRequest, context: Context) -> pb.RecordReviewResponse:
        wanted = _wanted(request)
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.RecordReviewResponse(
                review=review_to_proto(record_review(session, wanted, request.etag, actor))
            ),
        )

    async def ListReviews(self, request: pb.ListReviewsRequest, context: Context) -> pb.ListReviewsResponse:
        of = VersionRef(request.model, request.version)
        page = await self._unit_of_work.read(
            lambda session: list_reviews(session, of, request.page_size, request.page_token)
        )
        return pb.ListReviewsResponse(reviews=map(review_to_proto, page.items), next_page_token=page.next_page_token)

    async def ListDueReviews(self, request: pb.ListDueReviewsRequest, context: Context) -> pb.ListDueReviewsResponse:
        now = datetime.now(UTC)
        page = await self._unit_of_work.analyse(
            lambda session: list_due_reviews(session, request.model, request.page_size, request.page_token, now)
        )
        return pb.ListDueReviewsResponse(
            due_reviews=map(due_review_to_proto, page.items), next_page_token=page.next_page_token
        )


def _wanted(request: pb.RecordReviewRequest) -> Review:
    """Return a review as its author sent it; the server sets the other fields."""
    return Review(
        review_id="",
        model=request.model,
        version=request.version,
        outcome=outcome_from_proto(request.outcome),
        comment=request.comment,
        reviewed_by="",
        reviewed_at=datetime.now(UTC),
        conditions=tuple(request.conditions),
        evidence=tuple(request.evidence),
        next_review=day_from_proto(request.next_review, "next_review"),
    )

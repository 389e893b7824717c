"""Client methods for approvals of transitions."""

from collections.abc import Sequence
from datetime import datetime

from modelward._async.connection import AsyncConnection
from modelward._coerce import AnyVersion, as_ref, as_stage
from modelward.governance import Approval, ApprovalState
from modelward.lifecycle import Stage
from modelward.paging import AsyncPager
from modelward.shared.convert.common import ref_to_proto, stage_to_proto, time_to_proto
from modelward.shared.convert.governance import STATES, approval_from_proto
from modelward.v1 import governance_pb2 as pb
from modelward.v1 import lifecycle_pb2

PAGE_SIZE = 200


class AsyncApprovals(AsyncConnection):
    """Requests of approval, and their decisions."""

    async def request_approval(
        self,
        version: AnyVersion,
        *,
        to: Stage | str = Stage.PRODUCTION,
        reason: str,
        conditions: Sequence[str] = (),
        evidence: Sequence[str] = (),
        expires_at: datetime | None = None,
        request_id: str = "",
    ) -> Approval:
        """Request the approval of a transition by the functions that the model's promotion policy lists.

        Args:
            version: the version, such as `"spx-trend/3"`.
            to: the stage for which it is to be approved: staging or production.
            reason: why the transition is wanted.
            conditions: what must hold for the approval, in words.
            evidence: ids of comparisons and drift reports, and names of A/B tests, on which the request is based.
            expires_at: from then on it can neither be decided nor used; None for no limit.
            request_id: a UUID that you choose; a repeated call with the same one makes the change only once.

        Returns:
            The request, which waits for its decisions.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
            ApprovalNotNeeded: the policy lists no function for the transition.
            ApprovalExists: another request for it is pending, or approved and not used yet.
            InvalidField: the evidence does not exist, or the stage is another one.

        Examples:
            >>> policy = PromotionPolicy("spx-review", required_approvals=(RequiredApproval(("risk",)),))
            >>> made = await mw.register("spx-review", model)
            >>> changed = await mw.set_promotion_policy(policy)
            >>> request = await mw.request_approval(made, reason="better in the backtest")
            >>> print(request.state, request.waits_for)
            pending ('risk',)
        """
        request = pb.RequestApprovalRequest(
            version=ref_to_proto(as_ref(version)),
            to=stage_to_proto(as_stage(to)),
            reason=reason,
            conditions=conditions,
            evidence=evidence,
            expires_at=time_to_proto(expires_at),
            request_id=request_id,
        )
        return approval_from_proto((await self._call(self._governance.RequestApproval, request)).approval)

    async def approve(
        self, approval_id: str, *, function: str = "", comment: str = "", etag: str = "", request_id: str = ""
    ) -> Approval:
        """Approve a transition for one function.

        Args:
            approval_id: the id of the request.
            function: the function, such as `"risk"`; empty for the only one of the request that the caller holds.
            comment: why, or under which conditions.
            etag: the expected etag of the request; empty accepts any.
            request_id: a UUID that you choose; a repeated call with the same one makes the change only once.

        Returns:
            The request with the decision.

        Raises:
            ApprovalNotFound: there is no such request.
            ApprovalClosed: it was refused, withdrawn or used, it has expired, or the function has decided.
            NotApprover: the caller does not hold the function, made the request, registered the version, or has
                decided for another function.
            EtagMismatch: it changed since `etag` was read.
            InvalidField: the request does not ask for the function, or the caller holds several of it and names none.
        """
        return await self._decide(approval_id, function, True, comment, etag, request_id)

    async def reject(
        self, approval_id: str, *, comment: str, function: str = "", etag: str = "", request_id: str = ""
    ) -> Approval:
        """Refuse a transition for one function; that ends the request.

        Args:
            approval_id: the id of the request.
            comment: why.
            function: the function, such as `"risk"`; empty for the only one of the request that the caller holds.
            etag: the expected etag of the request; empty accepts any.
            request_id: a UUID that you choose; a repeated call with the same one makes the change only once.

        Returns:
            The request with the decision.

        Raises:
            ApprovalNotFound, ApprovalClosed, NotApprover, EtagMismatch: see `approve`.
            InvalidField: see `approve`; or the comment is blank.
        """
        return await self._decide(approval_id, function, False, comment, etag, request_id)

    async def _decide(
        self, approval_id: str, function: str, approve: bool, comment: str, etag: str, request_id: str
    ) -> Approval:
        request = pb.DecideApprovalRequest(
            approval_id=approval_id,
            function=function,
            approve=approve,
            comment=comment,
            etag=etag,
            request_id=request_id,
        )
        return approval_from_proto((await self._call(self._governance.DecideApproval, request)).approval)

    async def withdraw_approval(self, approval_id: str, *, etag: str = "", request_id: str = "") -> Approval:
        """Withdraw a request that no transition has used; whoever made it may, and operators.

        Args:
            approval_id: the id of the request.
            etag: the expected etag of the request; empty accepts any.
            request_id: a UUID that you choose; a repeated call with the same one makes the change only once.

        Returns:
            The withdrawn request.

        Raises:
            ApprovalNotFound: there is no such request.
            ApprovalClosed: it was refused, withdrawn or used, or has expired.
            NotApprover: another client made it, and the caller is no operator.
            EtagMismatch: it changed since `etag` was read.
        """
        request = pb.WithdrawApprovalRequest(approval_id=approval_id, etag=etag, request_id=request_id)
        return approval_from_proto((await self._call(self._governance.WithdrawApproval, request)).approval)

    async def get_approval(self, approval_id: str) -> Approval:
        """Return a request of approval.

        Args:
            approval_id: its id.

        Returns:
            The request with its decisions.

        Raises:
            ApprovalNotFound: there is no such request.
        """
        request = pb.GetApprovalRequest(approval_id=approval_id)
        return approval_from_proto((await self._call(self._governance.GetApproval, request)).approval)

    def list_approvals(
        self, model: str = "", *, version: int = 0, state: ApprovalState | str | None = None, waits_for: str = ""
    ) -> AsyncPager[Approval]:
        """List requests of approval, the newest first.

        Args:
            model: only those about this model; all when empty.
            version: only those about this version of the model; 0 for all.
            state: only those in this state.
            waits_for: only those that wait for this function's decision.

        Returns:
            The requests; their pages are fetched as they are needed.

        Raises:
            ModelNotFound: there is no such model.
        """
        wanted = lifecycle_pb2.APPROVAL_STATE_UNSPECIFIED if state is None else STATES[ApprovalState(state)]
        request = pb.ListApprovalsRequest(
            model=model, version=version, state=wanted, waits_for=waits_for, page_size=PAGE_SIZE
        )
        return self._list(self._governance.ListApprovals, request, "approvals", approval_from_proto)

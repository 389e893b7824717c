"""Client methods for findings about models."""

from collections.abc import Sequence
from datetime import date

from modelward._async.connection import AsyncConnection
from modelward.errors import FieldViolation, InvalidField
from modelward.findings import Finding, FindingSeverity, FindingState
from modelward.paging import AsyncPager
from modelward.shared.convert.findings import STATES, day_to_proto, finding_from_proto, severity_to_proto
from modelward.v1 import findings_pb2
from modelward.v1 import governance_pb2 as pb

PAGE_SIZE = 200


class AsyncFindings(AsyncConnection):
    """What is wrong with models, and how it is remedied."""

    async def open_finding(
        self,
        model: str,
        *,
        title: str,
        severity: FindingSeverity | str,
        owner: str,
        version: int = 0,
        description: str = "",
        due: date | None = None,
        remedy: str = "",
        evidence: Sequence[str] = (),
        request_id: str = "",
    ) -> Finding:
        """Open a finding about a model, or about one of its versions.

        Args:
            model: the model's name.
            title: what is wrong, in a line.
            severity: how serious it is: low, medium, high or critical.
            owner: who remedies it.
            version: the number of the version; 0 for the model.
            description: what is wrong, in detail.
            due: the day by which it is to be remedied.
            remedy: the remedy that is planned.
            evidence: ids of comparisons and drift reports, and names of A/B tests, that show it.
            request_id: a UUID that you choose; a repeated call with the same one makes the change only once.

        Returns:
            The finding.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
            InvalidField: the evidence does not exist.

        Examples:
            >>> found = await mw.open_finding("spx-trend", title="no costs", severity="high", owner="ada")
            >>> print(found.state, found.severity)
            open high
        """
        request = pb.OpenFindingRequest(
            model=model,
            version=version,
            title=title,
            description=description,
            severity=severity_to_proto(FindingSeverity(severity)),
            owner=owner,
            due=day_to_proto(due),
            remedy=remedy,
            evidence=evidence,
            request_id=request_id,
        )
        return finding_from_proto((await self._call(self._governance.OpenFinding, request)).finding)

    async def update_finding(
        self,
        finding_id: str,
        *,
        owner: str | None = None,
        due: date | None = None,
        no_due: bool = False,
        severity: FindingSeverity | str | None = None,
        remedy: str | None = None,
        etag: str = "",
        request_id: str = "",
    ) -> Finding:
        """Change an open finding; its owner may, and reviewers. Arguments that are None change nothing.

        Args:
            finding_id: the id of the finding.
            owner: who remedies it.
            due: the day by which it is to be remedied.
            no_due: remove the due date, which has the conditions of `close_finding`.
            severity: how serious it is; to lower it has the conditions of `close_finding`.
            remedy: the remedy that is planned.
            etag: the expected etag of the finding; empty accepts any.
            request_id: a UUID that you choose; a repeated call with the same one makes the change only once.

        Returns:
            The changed finding.

        Raises:
            FindingNotFound: there is no such finding.
            FindingClosed: it was closed.
            RoleTooLow: the caller neither owns it nor reviews.
            NotIndependent: the severity is lowered or the due date removed, and the caller may not close the finding.
            InvalidField: both a day and `no_due` are given.
            EtagMismatch: it changed since `etag` was read.
        """
        if no_due and due is not None:
            raise InvalidField(FieldViolation("due", "is given with no_due, which removes it"))
        request = pb.UpdateFindingRequest(
            finding_id=finding_id,
            owner=owner,
            due=day_to_proto(due) if no_due or due is not None else None,
            severity=severity_to_proto(None if severity is None else FindingSeverity(severity)),
            remedy=remedy,
            etag=etag,
            request_id=request_id,
        )
        return finding_from_proto((await self._call(self._governance.UpdateFinding, request)).finding)

    async def close_finding(
        self, finding_id: str, *, remedy: str, comment: str = "", etag: str = "", request_id: str = ""
    ) -> Finding:
        """Close a finding.

        Args:
            finding_id: the id of the finding.
            remedy: the remedy that was made.
            comment: how that was verified, or what remains.
            etag: the expected etag of the finding; empty accepts any.
            request_id: a UUID that you choose; a repeated call with the same one makes the change only once.

        Returns:
            The closed finding.

        Raises:
            FindingNotFound: there is no such finding.
            FindingClosed: it was closed before.
            NotIndependent: the caller owns or owned it, or registered the version; of a finding about the model, one of
                its versions.
            EtagMismatch: it changed since `etag` was read.
        """
        request = pb.CloseFindingRequest(
            finding_id=finding_id, remedy=remedy, comment=comment, etag=etag, request_id=request_id
        )
        return finding_from_proto((await self._call(self._governance.CloseFinding, request)).finding)

    async def get_finding(self, finding_id: str) -> Finding:
        """Return a finding.

        Args:
            finding_id: its id.

        Returns:
            The finding.

        Raises:
            FindingNotFound: there is no such finding.
        """
        request = pb.GetFindingRequest(finding_id=finding_id)
        return finding_from_proto((await self._call(self._governance.GetFinding, request)).finding)

    def list_findings(
        self,
        model: str = "",
        *,
        version: int = 0,
        min_severity: FindingSeverity | str | None = None,
        state: FindingState | str | None = None,
        overdue: bool = False,
        owner: str = "",
    ) -> AsyncPager[Finding]:
        """List findings, the newest first.

        Args:
            model: only those about this model and its versions; all when empty.
            version: only those about this version of the model; 0 for all.
            min_severity: only those of this severity or above.
            state: only those in this state, open or closed.
            overdue: only open ones whose day has passed, in UTC.
            owner: only those of this owner; all when empty.

        Returns:
            The findings; their pages are fetched as they are needed.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.ListFindingsRequest(
            model=model,
            version=version,
            min_severity=severity_to_proto(None if min_severity is None else FindingSeverity(min_severity)),
            state=findings_pb2.FINDING_STATE_UNSPECIFIED if state is None else STATES[FindingState(state)],
            overdue=overdue,
            owner=owner,
            page_size=PAGE_SIZE,
        )
        return self._list(self._governance.ListFindings, request, "findings", finding_from_proto)

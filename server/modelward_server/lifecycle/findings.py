"""Findings about models and versions: opened and closed by reviewers, remedied by their owners."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from uuid import uuid4

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from modelward.caller import Permission
from modelward.errors import FindingClosed, FindingNotFound, NotIndependent, RoleTooLow
from modelward.findings import Finding, FindingSeverity, FindingState
from modelward.lifecycle import Page, VersionRef
from modelward_server import identity
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.evidence import check_evidence
from modelward_server.lifecycle.independence import check_not_developer
from modelward_server.lifecycle.repository import check_etag, check_version, model_row, row_of
from modelward_server.security.permissions import REVIEW
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.documents import FINDING
from modelward_server.storage.finding_tables import FindingRow
from modelward_server.storage.paging import Key, fetch_page


@dataclass(frozen=True)
class FindingChange:
    """A change of an open finding; what is None stays as it is."""

    owner: str | None = None
    due: date | None = None
    no_due: bool = False
    """Whether it has no day any more."""
    severity: FindingSeverity | None = None
    remedy: str | None = None

    def of(self, finding: Finding) -> Finding:
        """Return the changed finding."""
        given = {"owner": self.owner, "due": self.due, "severity": self.severity, "remedy": self.remedy}
        changes = {name: value for name, value in given.items() if value is not None}
        return replace(finding, **changes, **({"due": None} if self.no_due else {}))  # type: ignore[arg-type]


@dataclass(frozen=True)
class FindingFilter:
    """Which findings are listed; a default leaves none out."""

    model: str = ""
    version: int = 0
    min_severity: FindingSeverity | None = None
    state: FindingState | None = None
    overdue: bool = False
    owner: str = ""


def open_finding(session: Session, wanted: Finding, actor: ActorContext) -> Finding:
    """Store a finding.

    Args:
        session: the transaction.
        wanted: the finding; the server sets its id and author.
        actor: its author.

    Raises:
        ModelNotFound, VersionNotFound: the model or the version does not exist.
        InvalidField: the evidence does not exist, or is of another model.
    """
    model_row(session, wanted.model)
    if wanted.version:
        check_version(session, VersionRef(wanted.model, wanted.version))
    check_evidence(session, wanted.model, wanted.evidence)
    finding = replace(wanted, finding_id=f"finding-{uuid4().hex[:16]}", opened_by=actor.name, opened_at=actor.at)
    row = FindingRow(finding_id=finding.finding_id, model=finding.model, version=finding.version, found={}, revision=0)
    return _store(session, row, finding, actor)


def update_finding(session: Session, finding_id: str, change: FindingChange, etag: str, actor: ActorContext) -> Finding:
    """Change an open finding.

    Raises:
        FindingNotFound: there is no such finding.
        EtagMismatch: it has changed since `etag` was read.
        FindingClosed: it was closed.
        RoleTooLow: the caller neither owns it nor reviews.
        NotIndependent: it would become less severe or lose its day, and the caller may not close it.
    """
    row, finding = _locked(session, finding_id, etag)
    if actor.name != finding.owner:
        _check_reviews(f"only its owner, {finding.owner}, and reviewers change {finding_id}")
    changed = change.of(finding)
    if changed.severity not in finding.severity.and_above:
        _check_independent(session, finding, actor, f"lower the severity of {finding_id}")
    if finding.due and not changed.due:
        _check_independent(session, finding, actor, f"take away the day of {finding_id}")
    if changed.owner != finding.owner:
        changed = replace(changed, former_owners=(*finding.former_owners, finding.owner))
    return _store(session, row, changed, actor)


def close_finding(
    session: Session, finding_id: str, remedy: str, comment: str, etag: str, actor: ActorContext
) -> Finding:
    """Close a finding.

    Raises:
        FindingNotFound: there is no such finding.
        EtagMismatch: it has changed since `etag` was read.
        FindingClosed: it was closed before.
        NotIndependent: the caller owns it or did, or has developed what it is about.
    """
    row, finding = _locked(session, finding_id, etag)
    _check_independent(session, finding, actor, f"close {finding_id}")
    closed = replace(finding, remedy=remedy, closed_by=actor.name, closed_at=actor.at, closing_comment=comment)
    return _store(session, row, closed, actor)


def get_finding(session: Session, finding_id: str) -> Finding:
    """Return a finding.

    Raises:
        FindingNotFound: there is no such finding.
    """
    return to_finding(_row(session, finding_id))


def list_findings(
    session: Session, wanted: FindingFilter, page_size: int, page_token: str, now: datetime
) -> Page[Finding]:
    """Return a page of findings, the newest first; `now` says which are overdue.

    Raises:
        ModelNotFound: the model does not exist.
    """
    if wanted.model:
        model_row(session, wanted.model)
    filters = ("findings", *vars(wanted).values())
    keys = [Key(FindingRow.sequence, descending=True)]
    page = fetch_page(session, _selected(wanted, now.date()), keys, page_size, page_token, filters)
    return Page(tuple(map(to_finding, page.items)), page.next_page_token)


def blocking_findings(session: Session, ref: VersionRef, least: FindingSeverity) -> tuple[Finding, ...]:
    """Return the open findings of a severity or above about a version or its model, in the order of their opening."""
    rows = select(FindingRow).where(
        FindingRow.model == ref.model,
        FindingRow.version.in_((0, ref.version)),
        FindingRow.state == FindingState.OPEN,
        FindingRow.severity.in_(least.and_above),
    )
    return tuple(map(to_finding, session.scalars(rows.order_by(FindingRow.sequence))))


def to_finding(row: FindingRow) -> Finding:
    """Return the finding of a row."""
    return replace(FINDING.load(row.found), etag=f"r{row.revision}")


def _selected(wanted: FindingFilter, today: date) -> Select[FindingRow]:
    rows = select(FindingRow)
    for column, value in ((FindingRow.model, wanted.model), (FindingRow.owner, wanted.owner)):
        rows = rows.where(column == value) if value else rows
    if wanted.version:
        rows = rows.where(FindingRow.version == wanted.version)
    if wanted.min_severity is not None:
        rows = rows.where(FindingRow.severity.in_(wanted.min_severity.and_above))
    if wanted.state is not None:
        rows = rows.where(FindingRow.state == wanted.state)
    return rows.where(FindingRow.state == FindingState.OPEN, FindingRow.due < today) if wanted.overdue else rows


def _store(session: Session, row: FindingRow, finding: Finding, actor: ActorContext) -> Finding:
    row.severity, row.state, row.owner, row.due = finding.severity, finding.state, finding.owner, finding.due
    row.found, row.revision = FINDING.dump(replace(finding, etag="")), row.revision + 1
    session.add(row)
    session.flush()
    stored = to_finding(row)
    audit.append(session, Kind.FINDING, row.model, stored, actor, row.version)
    return stored


def _row(session: Session, finding_id: str, *, lock: bool = False) -> FindingRow:
    row = row_of(session, select(FindingRow).where(FindingRow.finding_id == finding_id), lock=lock)
    if row is None:
        message = f"there is no finding {finding_id!r}; ListFindings lists them"
        raise FindingNotFound(message, finding_id=finding_id)
    return row


def _locked(session: Session, finding_id: str, etag: str) -> tuple[FindingRow, Finding]:
    row = _row(session, finding_id, lock=True)
    check_etag(etag, f"r{row.revision}")
    finding = to_finding(row)
    if finding.state is FindingState.CLOSED:
        message = f"{finding_id} was closed by {finding.closed_by}; open another finding"
        raise FindingClosed(message, finding_id=finding_id)
    return row, finding


def _check_reviews(message: str) -> None:
    """Refuse clients whose role does not review; where the server authenticates nobody, all do."""
    client = identity.current.get()
    if client and Permission.REVIEW not in client.role.permissions:
        raise RoleTooLow(message, role=client.role, needed=",".join(REVIEW.least_roles))


def _check_independent(session: Session, finding: Finding, actor: ActorContext, act: str) -> None:
    """Refuse reviewers who own the finding or did, or have developed what it is about."""
    _check_reviews(f"only reviewers {act}")
    if actor.name in {finding.owner, *finding.former_owners}:
        message = f"{actor.name} owns {finding.finding_id}, or did, and cannot {act}; another person must"
        raise NotIndependent(message, model=finding.model)
    check_not_developer(session, finding.model, finding.version, actor.name, act)

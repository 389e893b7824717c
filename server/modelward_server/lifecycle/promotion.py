"""Moves between stages, and the record of them."""

from collections.abc import Iterator
from datetime import datetime

from modelward.lifecycle import Page, Stage, Transition, TransitionResult, VersionRef
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from modelward_server.caller import Caller
from modelward_server.lifecycle.models import touch_model
from modelward_server.lifecycle.rows import check_etag, etag, model_row, to_transition, to_version, version_row
from modelward_server.lifecycle.stages import check_move
from modelward_server.lifecycle.versions import touch_version
from modelward_server.store.paging import Key, fetch_page
from modelward_server.store.tables import TransitionRow, VersionRow


def transition(
    session: Session, ref: VersionRef, to: Stage, reason: str, expected_etag: str, caller: Caller
) -> TransitionResult:
    """Move a version to another stage; into production, the version there is archived in the same transaction.

    Raises:
        ModelNotFound, VersionNotFound: it does not exist.
        EtagMismatch: it changed since `expected_etag` was read.
        IllegalTransition: the stage machine forbids the move.
    """
    row = version_row(session, ref, lock=True)
    check_etag(expected_etag, etag(row))
    check_move(ref, Stage(row.stage), to)
    predecessor = _in_production(session, ref.model) if to is Stage.PRODUCTION else None
    if predecessor is not None:
        note = f"{ref} was promoted" + (f": {reason}" if reason else "")
        _move(session, predecessor, Stage.ARCHIVED, note, caller, displaced_by=ref.version)
    record = _move(session, row, to, reason, caller)
    touch_model(model_row(session, ref.model), caller)
    return TransitionResult(
        version=to_version(row),
        archived=None if predecessor is None else to_version(predecessor),
        transition=to_transition(record),
    )


def _in_production(session: Session, model: str) -> VersionRow | None:
    return session.scalar(select(VersionRow).where(VersionRow.model == model, VersionRow.stage == Stage.PRODUCTION))


def _move(
    session: Session, row: VersionRow, to: Stage, reason: str, caller: Caller, displaced_by: int = 0
) -> TransitionRow:
    record = TransitionRow(
        model=row.model,
        version=row.version,
        from_stage=row.stage,
        to_stage=to,
        actor=caller.actor,
        reason=reason,
        moved_at=caller.at,
        displaced_by=displaced_by,
    )
    row.stage, row.stage_since = to, caller.at
    touch_version(row, caller)
    session.add(record)
    session.flush()  # At once: the predecessor must have left production before the successor comes.
    return record


def list_transitions(
    session: Session,
    ref: VersionRef,
    moved_after: datetime | None,
    moved_before: datetime | None,
    page_size: int,
    page_token: str,
) -> Page[Transition]:
    """Return a page of the stage changes, the newest first.

    Args:
        ref: the model and version to show; an empty model means all models, version 0 all versions.

    Raises:
        ModelNotFound, VersionNotFound: what `ref` names does not exist.
    """
    _check_exists(session, ref)
    conditions = list(_conditions(ref, moved_after, moved_before))
    asked = ("transitions", ref, moved_after, moved_before)
    rows = select(TransitionRow).where(*conditions)
    page = fetch_page(session, rows, [Key(TransitionRow.sequence, descending=True)], page_size, page_token, asked)
    return Page(tuple(map(to_transition, page.items)), page.next_page_token)


def _check_exists(session: Session, ref: VersionRef) -> None:
    if ref.model and ref.version:
        version_row(session, ref)
    elif ref.model:
        model_row(session, ref.model)


def _conditions(
    ref: VersionRef, moved_after: datetime | None, moved_before: datetime | None
) -> Iterator[ColumnElement[bool]]:
    if ref.model:
        yield TransitionRow.model == ref.model
    if ref.version:
        yield TransitionRow.version == ref.version
    if moved_after is not None:
        yield TransitionRow.moved_at >= moved_after
    if moved_before is not None:
        yield TransitionRow.moved_at < moved_before


def last_sequence(session: Session) -> int:
    """Return the place of the newest change in the server's order of changes; 0 before the first."""
    return session.scalar(select(func.max(TransitionRow.sequence))) or 0

"""Resolve a model to a version: by stage, alias or number, now or at a past instant."""

from dataclasses import replace
from datetime import datetime
from typing import Never

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelward.errors import NothingResolved, VersionNotFound
from modelward.lifecycle import ModelVersion, Resolved, Stage, VersionRef
from modelward_server.lifecycle.halts import check_not_halted
from modelward_server.lifecycle.repository import model_row, to_version, version_row
from modelward_server.storage.audit import last_sequence
from modelward_server.storage.tables import TransitionRow, VersionRow

LATEST = "latest"
"""The alias of the version with the highest number."""
STAGE_OF_ALIAS = {"production": Stage.PRODUCTION, "staging": Stage.STAGING}
"""The stages whose names serve as aliases."""
Selector = Stage | int | str
"""A stage, a version's number, or an alias."""


def resolve(session: Session, model: str, selector: Selector, as_of: datetime | None) -> Resolved:
    """Resolve a model to a version.

    Args:
        session: the transaction.
        model: the name of the model.
        selector: a stage, a version's number, or an alias.
        as_of: the past instant at which to resolve; None means now.

    Raises:
        ModelNotFound: the model does not exist.
        VersionNotFound: no version has that number, or it did not exist at that instant.
        NothingResolved: no version holds the stage or alias.
        ModelHalted: the model is halted; past instants can still be resolved.
    """
    row = model_row(session, model)
    if as_of is None:
        check_not_halted(row)
    latest = row.latest_version
    selector = _plain(selector)
    number, stage = _now(session, model, selector, latest) if as_of is None else _then(session, model, selector, as_of)
    version = to_version(version_row(session, VersionRef(model, number)))
    return Resolved(version if stage is None else replace(version, stage=stage), last_sequence(session))


def _plain(selector: Selector) -> Selector:
    """Replace the alias of a stage by the stage."""
    if isinstance(selector, int | Stage):
        return selector
    return STAGE_OF_ALIAS.get(selector, selector)


def _now(session: Session, model: str, selector: Selector, latest: int) -> tuple[int, Stage | None]:
    if isinstance(selector, int):
        return selector, None
    if isinstance(selector, Stage):
        row = stage_holder(session, model, selector)
        number = None if row is None else row.version
    else:
        number = latest if selector == LATEST else None
    return number or _nothing(model, selector), None


def stage_holder(session: Session, model: str, stage: Stage) -> VersionRow | None:
    """Return the version to which a stage resolves: of those in the stage, the one that entered it last."""
    rows = select(VersionRow).where(VersionRow.model == model, VersionRow.stage == stage)
    return session.scalar(rows.order_by(VersionRow.stage_since.desc(), VersionRow.version.desc()).limit(1))


def alias_holders(session: Session, model: str) -> list[ModelVersion]:
    """Return the versions to which the aliases of stages resolve, one for each stage that is not empty."""
    rows = (stage_holder(session, model, stage) for stage in STAGE_OF_ALIAS.values())
    return [to_version(row) for row in rows if row is not None]


def _then(session: Session, model: str, selector: Selector, as_of: datetime) -> tuple[int, Stage | None]:
    stages = _stages_at(session, model, as_of)
    if isinstance(selector, int):
        number = selector if selector in stages else _not_yet(model, selector, as_of)
    elif isinstance(selector, Stage):
        holders = [version for version, stage in stages.items() if stage is selector]
        number = holders[-1] if holders else _nothing(model, selector, as_of)
    else:
        number = max(stages) if selector == LATEST and stages else _nothing(model, selector, as_of)
    return number, stages[number]


def _stages_at(session: Session, model: str, as_of: datetime) -> dict[int, Stage]:
    """Return the stage of each version at an instant, ordered by the time of its last move."""
    last_moves = (
        select(func.max(TransitionRow.sequence))
        .where(TransitionRow.model == model, TransitionRow.moved_at <= as_of)
        .group_by(TransitionRow.version)
    )
    rows = select(TransitionRow).where(TransitionRow.sequence.in_(last_moves)).order_by(TransitionRow.sequence)
    return {row.version: Stage(row.to_stage) for row in session.scalars(rows)}


def _nothing(model: str, selector: Selector, as_of: datetime | None = None) -> Never:
    kind = "stage" if isinstance(selector, Stage) else "alias"
    when = f" at {as_of.isoformat()}" if as_of else ""
    raise NothingResolved(
        f"no version of {model!r} holds the {kind} {selector!s}{when}; ListModelVersions shows the stage of each",
        **{"model": model, kind: selector},
    )


def _not_yet(model: str, version: int, as_of: datetime) -> Never:
    raise VersionNotFound(f"{model}/{version} did not exist at {as_of.isoformat()}", model=model, version=version)

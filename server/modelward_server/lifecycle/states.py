"""The states of all models and of their engines, each read by one query."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, select
from sqlalchemy.orm import Session

from modelward.lifecycle import Halt, RolloutState, Trial, VersionRef
from modelward_server.lifecycle.repository import IN_PRODUCTION, halt_of, trial_of
from modelward_server.storage.paging import is_listed
from modelward_server.storage.tables import EngineRow, ModelRow, TransitionRow, VersionRow

OWN_PRODUCTION = and_(VersionRow.model == ModelRow.name, IN_PRODUCTION)


@dataclass(frozen=True)
class Production:
    """A version in production."""

    ref: VersionRef
    since: datetime
    trial: Trial | None


@dataclass(frozen=True)
class ModelState:
    """The state of one model."""

    name: str
    halt: Halt | None
    production: Production | None


@dataclass(frozen=True)
class EngineGroup:
    """The engines of a model that are in one state."""

    number: int
    first: str
    """One of them."""
    reported_at: datetime
    """The oldest of their last reports."""


Engines = dict[RolloutState, EngineGroup]


def model_states(session: Session, prefix: str) -> list[ModelState]:
    """Return the state of each model whose name has a prefix, sorted by name."""
    trial = (VersionRow.trial_result, VersionRow.trial_reason, VersionRow.tried_with, VersionRow.tried_at)
    halt = (ModelRow.halted_by, ModelRow.halt_reason, ModelRow.halted_at)
    columns = (ModelRow.name, *halt, VersionRow.version, VersionRow.stage_since, *trial)
    rows = select(*columns).outerjoin_from(ModelRow, VersionRow, OWN_PRODUCTION)
    listed = rows.where(is_listed(ModelRow.name, prefix)).order_by(ModelRow.name)
    return [_model_state(row) for row in session.execute(listed)]


def _model_state(row: Any) -> ModelState:
    halt = halt_of(row)
    if row.version is None:
        return ModelState(row.name, halt, None)
    return ModelState(row.name, halt, Production(VersionRef(row.name, row.version), row.stage_since, trial_of(row)))


def engine_states(session: Session, prefix: str, now: datetime) -> dict[str, Engines]:
    """Return the engines of each model by their states, which are those of `rollout.get_rollout`."""
    engines = _states(prefix, now).subquery()
    state, engine, reported_at = engines.c.state, engines.c.engine, engines.c.reported_at
    groups = select(engines.c.model, state, func.count(), func.min(engine), func.min(reported_at))
    found: dict[str, Engines] = {}
    for model, name, *group in session.execute(groups.group_by(engines.c.model, state)):
        found.setdefault(model, {})[RolloutState(name)] = EngineGroup(*group)
    return found


def _states(prefix: str, now: datetime) -> Select[str, str, str, datetime, str]:
    columns = (EngineRow.model, EngineRow.engine, EngineRow.failure, EngineRow.reported_at, _state(now).label("state"))
    rows = select(*columns).outerjoin_from(ModelRow, VersionRow, OWN_PRODUCTION)
    return rows.join(EngineRow, EngineRow.model == ModelRow.name).where(is_listed(ModelRow.name, prefix))


def _state(now: datetime) -> ColumnElement[str]:
    """Return the SQL expression of the state that `rollout` gives an engine."""
    expected = case((ModelRow.halted_at.is_(None), VersionRow.version))
    return case(
        (EngineRow.gone_at <= now, RolloutState.GONE.value),
        (expected.is_(None), RolloutState.LAGGING.value),
        (EngineRow.failed_version == expected, RolloutState.FAILED.value),
        (EngineRow.version == expected, RolloutState.CONVERGED.value),
        else_=RolloutState.LAGGING.value,
    )


def load_failures(session: Session, models: list[str], now: datetime) -> dict[tuple[str, str], str]:
    """Return why engines of these models could not load the expected version, by model and engine."""
    engines = _states("", now).where(ModelRow.name.in_(models)).subquery()
    failed = select(engines.c.model, engines.c.engine, engines.c.failure)
    rows = session.execute(failed.where(engines.c.state == RolloutState.FAILED.value))
    return {(model, engine): reason for model, engine, reason in rows}


def promoters(session: Session, versions: list[VersionRef]) -> dict[str, str]:
    """Return who moved these versions, which are in production, to production; by model."""
    numbers = {ref.model: ref.version for ref in versions}
    into = TransitionRow.__table__.alias()
    last = select(func.max(into.c.sequence)).where(into.c.model == VersionRow.model, into.c.to_stage == "production")
    rows = (
        select(TransitionRow.model, TransitionRow.version, TransitionRow.actor)
        .join(VersionRow, and_(VersionRow.model == TransitionRow.model, IN_PRODUCTION))
        .where(VersionRow.model.in_(numbers), TransitionRow.sequence == last.scalar_subquery())
    )
    return {model: actor for model, version, actor in session.execute(rows) if numbers[model] == version}

"""The states of all models and of their engines, each read by one query."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Subquery, and_, case, func, literal_column, select
from sqlalchemy.orm import Session, aliased

from modelward.lifecycle import Halt, RolloutState, Trial, TrialResult, VersionRef
from modelward_server.lifecycle.repository import IN_PRODUCTION, halt_of, trial_of
from modelward_server.storage.paging import is_listed
from modelward_server.storage.tables import EngineRow, ModelRow, TransitionRow, VersionRow

TRIAL = (VersionRow.trial_result, VersionRow.trial_reason, VersionRow.tried_with, VersionRow.tried_at)
IS_UNUSABLE = VersionRow.trial_result == literal_column(f"'{TrialResult.UNUSABLE.value}'")
"""As a literal, like `IN_PRODUCTION`: few are, and a partial index holds these."""
OWN_PRODUCTION = and_(VersionRow.model == ModelRow.name, IN_PRODUCTION)


@dataclass(frozen=True)
class Production:
    """A version in production."""

    ref: VersionRef
    since: datetime
    trial: Trial | None
    promoted_by: str


@dataclass(frozen=True)
class EngineGroup:
    """The engines of a model that are in one state."""

    number: int
    first: str
    """One of them."""
    reported_at: datetime
    """The oldest of their last reports."""
    since: datetime | None
    """Since when the version is in production that they should run."""
    total: int
    """Number of all engines of the model."""


Engines = dict[RolloutState, EngineGroup]
"""The engines of a model by state, but for those that have converged."""


def count_models(session: Session, prefix: str) -> int:
    """Return the number of models whose names have a prefix."""
    return session.scalar(select(func.count()).select_from(ModelRow).where(is_listed(ModelRow.name, prefix))) or 0


def halts(session: Session, prefix: str) -> dict[str, Halt]:
    """Return the halts of models, by name."""
    columns = (ModelRow.name, ModelRow.halted_by, ModelRow.halt_reason, ModelRow.halted_at)
    halted = select(*columns).where(ModelRow.halted_at.is_not(None), is_listed(ModelRow.name, prefix))
    return {row.name: halt for row in session.execute(halted) if (halt := halt_of(row))}


def versions_in_production(session: Session, prefix: str) -> dict[str, int]:
    """Return the number of the version in production of each model that has one."""
    versions = select(VersionRow.model, VersionRow.version)
    rows = session.execute(versions.where(IN_PRODUCTION, is_listed(VersionRow.model, prefix)))
    return dict(rows.all())


def unusable(session: Session, prefix: str) -> dict[str, Trial]:
    """Return the trials of the versions in production that cannot be used, by model."""
    columns = (VersionRow.model, *TRIAL)
    own = select(*columns).where(IN_PRODUCTION, IS_UNUSABLE, is_listed(VersionRow.model, prefix))
    rows = session.execute(own)
    return {row.model: trial for row in rows if (trial := trial_of(row))}


def engine_states(session: Session, prefix: str, now: datetime) -> dict[str, Engines]:
    """Return the engines of each model by their states, which are those of `rollout.get_rollout`, but for CONVERGED.

    Nearly all engines have converged: these are only counted.
    """
    engines = _states(is_listed(ModelRow.name, prefix), now)
    state, engine, reported_at = engines.c.state, engines.c.engine, engines.c.reported_at
    groups = select(engines.c.model, state, func.count(), func.min(engine), func.min(reported_at))
    of_model = aliased(EngineRow)
    total = select(func.count()).where(of_model.model == engines.c.model).scalar_subquery()
    groups = groups.where(state != RolloutState.CONVERGED.value).add_columns(func.min(engines.c.since), total)
    found: dict[str, Engines] = {}
    for model, name, *group in session.execute(groups.group_by(engines.c.model, state)):
        found.setdefault(model, {})[RolloutState(name)] = EngineGroup(*group)
    return found


def engine_totals(session: Session, models: Sequence[str]) -> dict[str, int]:
    """Return the number of engines of each of these models that has one."""
    numbers = select(EngineRow.model, func.count()).group_by(EngineRow.model)
    return dict(session.execute(numbers.where(EngineRow.model.in_(models))).all())


def _states(models: ColumnElement[bool], now: datetime) -> Subquery:
    """Select the engines of the models that meet a condition, each with its state.

    What they should run is materialized, or SQLite looks it up for each engine: more than twice the time.
    """
    expected = (
        select(ModelRow.name, case((ModelRow.halted_at.is_(None), VersionRow.version)).label("version"))
        .add_columns(VersionRow.stage_since.label("since"))
        .outerjoin_from(ModelRow, VersionRow, OWN_PRODUCTION)
        .where(models)
        .cte("expected")
        .prefix_with("MATERIALIZED")
    )
    state = _state(expected.c.version, now).label("state")
    columns = (expected.c.name.label("model"), EngineRow.engine, EngineRow.failure, EngineRow.reported_at)
    rows = select(*columns, expected.c.since, state)
    return rows.join_from(expected, EngineRow, EngineRow.model == expected.c.name).subquery()


def _state(expected: ColumnElement[int], now: datetime) -> ColumnElement[str]:
    """Return the SQL expression of the state that `rollout` gives an engine."""
    return case(
        (EngineRow.gone_at <= now, RolloutState.GONE.value),
        (expected.is_(None), RolloutState.LAGGING.value),
        (EngineRow.failed_version == expected, RolloutState.FAILED.value),
        (EngineRow.version == expected, RolloutState.CONVERGED.value),
        else_=RolloutState.LAGGING.value,
    )


def load_failures(session: Session, models: list[str], now: datetime) -> dict[tuple[str, str], str]:
    """Return why engines of these models could not load the expected version, by model and engine."""
    engines = _states(ModelRow.name.in_(models), now)
    failed = select(engines.c.model, engines.c.engine, engines.c.failure)
    rows = session.execute(failed.where(engines.c.state == RolloutState.FAILED.value))
    return {(model, engine): reason for model, engine, reason in rows}


def productions(session: Session, models: Sequence[str]) -> list[Production]:
    """Return what is in production of these models, in their order."""
    into = TransitionRow.__table__.alias()
    last = select(func.max(into.c.sequence)).where(into.c.model == VersionRow.model, into.c.to_stage == "production")
    rows = (
        select(VersionRow.model, VersionRow.version, VersionRow.stage_since, TransitionRow.actor, *TRIAL)
        .outerjoin(TransitionRow, TransitionRow.sequence == last.scalar_subquery())
        .where(VersionRow.model.in_(models), IN_PRODUCTION)
    )
    found = {row.model: _production(row) for row in session.execute(rows)}
    return [found[model] for model in models]


def _production(row: Any) -> Production:
    return Production(VersionRef(row.model, row.version), row.stage_since, trial_of(row), row.actor or "")

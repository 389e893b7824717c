"""Rollout: the versions that engines run, compared with the one that they should run."""

from collections import defaultdict
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from modelward.lifecycle import (
    EngineStatus,
    LoadFailure,
    Model,
    ModelRollout,
    Page,
    Rollout,
    RolloutState,
    VersionRef,
)
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.engine_changes import differs, record_change
from modelward_server.lifecycle.engine_limits import EngineLimits, check_period
from modelward_server.lifecycle.engine_periods import begin_period, begins_period
from modelward_server.lifecycle.queries import with_production
from modelward_server.lifecycle.repository import check_version, model_row, production_version
from modelward_server.storage.paging import Key, fetch_page, is_listed
from modelward_server.storage.tables import EngineRow, ModelRow

DEFAULT_SILENCE = timedelta(minutes=1)


def report_active(
    session: Session,
    ref: VersionRef,
    engine: str,
    silent_after: timedelta | None,
    failure: LoadFailure | None,
    actor: ActorContext,
    client: str,
    limits: EngineLimits,
) -> VersionRef | None:
    """Record which version an engine runs, and return the one that it should run.

    Args:
        session: the transaction.
        ref: the version that runs.
        engine: the engine's name.
        silent_after: the time without a report after which it counts as gone.
        failure: the version that it could not load.
        actor: the time of the report.
        client: the authenticated client that reports; empty where the server does not authenticate.
        limits: how many engines are kept.

    Raises:
        ModelNotFound, VersionNotFound: the version, or the one that could not be loaded, does not exist.
        LimitReached: there are too many engines, or this one changes too often.
    """
    check_version(session, ref)
    if failure:
        check_version(session, VersionRef(ref.model, failure.version))
    last = session.get(EngineRow, (ref.model, engine), with_for_update=True)
    limits.check_engine(session, client, last)
    if begins_period(ref, last, actor):
        check_period(session, ref.model, engine, actor)
        begin_period(session, ref, engine, last, actor)
    row = EngineRow(
        model=ref.model,
        engine=engine,
        version=ref.version,
        failed_version=failure.version if failure else 0,
        failure=failure.reason if failure else "",
        reported_by=client,
        reported_at=actor.at,
        gone_at=actor.at + (silent_after or DEFAULT_SILENCE),
    )
    expected = _expected(session, ref.model)
    if differs(last, row):
        record_change(session, row, _state(row, expected, actor.at))
    session.merge(row)
    return expected


def get_rollout(session: Session, model: str, now: datetime) -> Rollout:
    """Return the status of each engine on record, relative to the expected version.

    Raises:
        ModelNotFound: the model does not exist.
    """
    expected = _expected(session, model)
    rows = session.scalars(select(EngineRow).where(EngineRow.model == model).order_by(EngineRow.engine))
    return Rollout(expected, tuple(_status(row, expected, now) for row in rows))


def unchanged_until(session: Session, model: str, now: datetime) -> datetime | None:
    """Return when the next engine of a model counts as gone unless it reports; None if none is left."""
    return session.scalar(select(func.min(EngineRow.gone_at)).where(EngineRow.model == model, EngineRow.gone_at > now))


def list_rollouts(
    session: Session, name_prefix: str, page_size: int, page_token: str, now: datetime
) -> Page[ModelRollout]:
    """Return a page of the rollouts of models whose names have a prefix, by name."""
    models = select(ModelRow).where(is_listed(ModelRow.name, name_prefix))
    page = fetch_page(session, models, [Key(ModelRow.name)], page_size, page_token, ("rollouts", name_prefix))
    names = [row.name for row in page.items]
    engines: dict[str, list[EngineRow]] = defaultdict(list)
    rows = select(EngineRow).where(EngineRow.model.in_(names)).order_by(EngineRow.model, EngineRow.engine)
    for row in session.scalars(rows):
        engines[row.model].append(row)
    found = with_production(session, page.items)
    return Page(tuple(_rollout_of(model, engines[model.name], now) for model in found), page.next_page_token)


def _rollout_of(model: Model, engines: list[EngineRow], now: datetime) -> ModelRollout:
    version = 0 if model.halt else model.production_version
    expected = VersionRef(model.name, version) if version else None
    statuses = tuple(_status(row, expected, now) for row in engines)
    return ModelRollout(model.name, model.halt is not None, Rollout(expected, statuses))


def _expected(session: Session, model: str) -> VersionRef | None:
    if model_row(session, model).halted_at is not None:
        return None
    version = production_version(session, model)
    return VersionRef(model, version) if version else None


def _status(row: EngineRow, expected: VersionRef | None, now: datetime) -> EngineStatus:
    failure = LoadFailure(row.failed_version, row.failure) if row.failed_version else None
    return EngineStatus(row.engine, row.version, _state(row, expected, now), row.reported_at, failure)


def _state(row: EngineRow, expected: VersionRef | None, now: datetime) -> RolloutState:
    if row.gone_at <= now:
        return RolloutState.GONE
    if expected is None:
        return RolloutState.LAGGING
    if row.failed_version == expected.version:
        return RolloutState.FAILED
    return RolloutState.CONVERGED if row.version == expected.version else RolloutState.LAGGING

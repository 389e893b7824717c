"""Filtered lists of models and versions."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain

from sqlalchemy import ColumnElement, Select, and_, select
from sqlalchemy.orm import Session

from modelward.lifecycle import MetricRange, Model, ModelVersion, Page, Stage
from modelward_server.lifecycle.repository import model_row, to_model, to_version
from modelward_server.storage.paging import Key, is_visible, starts_with
from modelward_server.storage.search import Condition, search_page
from modelward_server.storage.search_tables import (
    ModelInventoryRow,
    ModelTagRow,
    VersionMetricRow,
    VersionTagRow,
    value_digest,
)
from modelward_server.storage.tables import ModelRow, VersionRow

NAMED = (VersionRow.model, VersionRow.version)
NAMED_ORDER = (VersionRow.model, VersionRow.version.desc())
TAGGED = (VersionTagRow.model, VersionTagRow.version)
TAGGED_ORDER = (VersionTagRow.model, VersionTagRow.version.desc())
MAX_NAMES = 1000
"""Names in one query: databases limit the number of its parameters."""
MEASURED = (VersionMetricRow.model, VersionMetricRow.version)


@dataclass(frozen=True)
class ModelFilter:
    """Conditions on models; all conditions that are set must be met."""

    name_prefix: str = ""
    stages: Collection[Stage] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""
    tier: int = 0
    desk: str = ""


@dataclass(frozen=True)
class VersionFilter:
    """Conditions on versions; all conditions that are set must be met."""

    model: str = ""
    name_prefix: str = ""
    stages: Collection[Stage] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Sequence[MetricRange] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None


def list_models(session: Session, model_filter: ModelFilter, page_size: int, page_token: str) -> Page[Model]:
    """Return a page of the models that meet every condition, ordered by name."""
    page = search_page(
        session,
        [Key(ModelRow.name)],
        lambda name: and_(is_visible(name), starts_with(name, model_filter.name_prefix)),
        list(_model_conditions(model_filter)),
        page_size,
        page_token,
        model_filter,
    )
    return Page(with_production(session, page.items), page.next_page_token)


def with_production(session: Session, rows: Sequence[ModelRow]) -> tuple[Model, ...]:
    """Return the models of some rows, each with its version in production."""
    names = [row.name for row in rows]
    in_production = _production_versions(session, names)
    return tuple(to_model(row, in_production.get(row.name, 0)) for row in rows)


def select_models(name_prefix: str, tags: Mapping[str, str]) -> Select[ModelRow]:
    """Select every visible model whose name has the prefix and that has all tags; all where neither is given."""
    named = [starts_with(ModelRow.name, name_prefix)] if name_prefix else []
    tagged = [condition.holds_for([ModelRow.name]) for condition in _tag_conditions(tags)]
    return select(ModelRow).where(is_visible(ModelRow.name), *named, *tagged).order_by(ModelRow.name)


def _model_conditions(model_filter: ModelFilter) -> Iterator[Condition]:
    yield from _tag_conditions(model_filter.tags)
    yield from _inventory_conditions(model_filter)
    if model_filter.stages:
        yield Condition((VersionRow.model,), VersionRow.stage.in_(model_filter.stages), ())


def _tag_conditions(tags: Mapping[str, str]) -> Iterator[Condition]:
    for key, value in tags.items():
        tagged = (ModelTagRow.key == key) & (ModelTagRow.digest == value_digest(value))
        yield Condition((ModelTagRow.model,), tagged, (ModelTagRow.model,), in_order=True)


def _inventory_conditions(model_filter: ModelFilter) -> Iterator[Condition]:
    tier = str(model_filter.tier) if model_filter.tier else ""
    for name, value in {"owner": model_filter.owner, "tier": tier, "desk": model_filter.desk}.items():
        if value:
            stated = (ModelInventoryRow.field == name) & (ModelInventoryRow.digest == value_digest(value))
            yield Condition((ModelInventoryRow.model,), stated, (ModelInventoryRow.model,), in_order=True)


def _production_versions(session: Session, models: list[str]) -> dict[str, int]:
    query = select(VersionRow.model, VersionRow.version).where(VersionRow.stage == Stage.PRODUCTION)
    batches = (models[start : start + MAX_NAMES] for start in range(0, len(models), MAX_NAMES))
    found = (session.execute(query.where(VersionRow.model.in_(batch))).all() for batch in batches)
    return dict(chain.from_iterable(found))


def list_versions(
    session: Session, version_filter: VersionFilter, page_size: int, page_token: str
) -> Page[ModelVersion]:
    """Return a page of the versions that meet every condition, ordered by model and by descending number.

    Raises:
        ModelNotFound: the filter names a model that does not exist.
    """
    if version_filter.model:
        model_row(session, version_filter.model)
    page = search_page(
        session,
        [Key(VersionRow.model), Key(VersionRow.version, descending=True)],
        lambda model: _model_matches(model, version_filter),
        list(_version_conditions(version_filter)),
        page_size,
        page_token,
        version_filter,
    )
    return Page(tuple(map(to_version, page.items)), page.next_page_token)


def _model_matches(model: ColumnElement[str], version_filter: VersionFilter) -> ColumnElement[bool]:
    named = [model == version_filter.model] if version_filter.model else []
    return and_(
        is_visible(model),
        *named,
        *([starts_with(model, version_filter.name_prefix)] if version_filter.name_prefix else []),
    )


def _version_conditions(version_filter: VersionFilter) -> Iterator[Condition]:
    for key, value in version_filter.tags.items():
        tagged = (VersionTagRow.key == key) & (VersionTagRow.digest == value_digest(value))
        yield Condition(TAGGED, tagged, TAGGED_ORDER, in_order=True)
    if version_filter.stages:
        # With several stages, the index yields one stage after the other.
        alone = len(version_filter.stages) == 1
        yield Condition(
            NAMED, VersionRow.stage.in_(version_filter.stages), NAMED_ORDER if alone else (), in_order=alone
        )
    for bounds in version_filter.metrics:
        yield Condition(MEASURED, and_(*_within(bounds)), (VersionMetricRow.value, *MEASURED))
    if version_filter.created_after is not None or version_filter.created_before is not None:
        yield Condition(NAMED, and_(*_created_within(version_filter)), (VersionRow.created_at, *NAMED))


def _within(bounds: MetricRange) -> Iterator[ColumnElement[bool]]:
    yield VersionMetricRow.key == bounds.key
    if bounds.at_least is not None:
        yield VersionMetricRow.value >= bounds.at_least
    if bounds.at_most is not None:
        yield VersionMetricRow.value <= bounds.at_most


def _created_within(version_filter: VersionFilter) -> Iterator[ColumnElement[bool]]:
    if version_filter.created_after is not None:
        yield VersionRow.created_at >= version_filter.created_after
    if version_filter.created_before is not None:
        yield VersionRow.created_at < version_filter.created_before

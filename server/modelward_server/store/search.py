"""Conditions on lists that stay fast: what is current of a row's tags and metrics, in tables that indexes serve.

A list is read in its order until a page is full, which is fast when many rows meet its conditions. When few do, those
are found first, by an index. Which it is, is counted, up to `FEW`.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, delete, exists, func, select, tuple_
from sqlalchemy.orm import Session

from modelward.lifecycle import MetricRange
from modelward_server.store.tables import ModelRow, ModelTagRow, VersionMetricRow, VersionRow, VersionTagRow

FEW = 2_000
"""Rows that are fetched at once to be put in order."""
Row = TypeVar("Row")


@dataclass(frozen=True)
class Condition:
    """One condition on the rows of a list, said in two ways.

    Attributes:
        keys: the keys of all rows that meet it.
        met: whether the row at hand meets it.
    """

    keys: Select[*tuple[Any, ...]]
    met: ColumnElement[bool]


def where(session: Session, rows: Select[Row], key: Sequence[Any], conditions: Sequence[Condition]) -> Select[Row]:
    """Keep the rows that meet every condition.

    Args:
        key: the columns of the list that `Condition.keys` names.
    """
    counts = [_count(session, condition) for condition in conditions]
    for condition, count in zip(conditions, counts, strict=True):
        if count <= FEW and count == min(counts):
            rows = rows.where(tuple_(*key).in_(condition.keys) if len(key) > 1 else key[0].in_(condition.keys))
        else:
            rows = rows.where(condition.met)
    return rows


def _count(session: Session, condition: Condition) -> int:
    """Count the rows that meet a condition, up to one more than few."""
    return session.scalar(select(func.count()).select_from(condition.keys.limit(FEW + 1).subquery())) or 0


def version_tags(tags: Mapping[str, str]) -> Iterator[Condition]:
    """Give the conditions that versions carry these tags."""
    for key, value in tags.items():
        has = VersionTagRow.label == label(key, value)
        own = (VersionTagRow.model == VersionRow.model) & (VersionTagRow.version == VersionRow.version)
        yield Condition(select(VersionTagRow.model, VersionTagRow.version).where(has), exists().where(has, own))


def version_metrics(ranges: Sequence[MetricRange]) -> Iterator[Condition]:
    """Give the conditions that versions' metrics lie in these ranges."""
    for bounds in ranges:
        within = [VersionMetricRow.key == bounds.key]
        if bounds.at_least is not None:
            within.append(VersionMetricRow.value >= bounds.at_least)
        if bounds.at_most is not None:
            within.append(VersionMetricRow.value <= bounds.at_most)
        own = (VersionMetricRow.model == VersionRow.model) & (VersionMetricRow.version == VersionRow.version)
        keys = select(VersionMetricRow.model, VersionMetricRow.version).where(*within)
        yield Condition(keys, exists().where(*within, own))


def versions_that(met: ColumnElement[bool]) -> Condition:
    """Give a condition on a version's own columns."""
    return Condition(select(VersionRow.model, VersionRow.version).where(met), met)


def model_tags(tags: Mapping[str, str]) -> Iterator[Condition]:
    """Give the conditions that models carry these tags."""
    for key, value in tags.items():
        has = ModelTagRow.label == label(key, value)
        yield Condition(select(ModelTagRow.model).where(has), exists().where(has, ModelTagRow.model == ModelRow.name))


def label(key: str, value: str) -> str:
    """Return what stands for a tag in an index, which values of any length do not fit into."""
    return hashlib.sha256(f"{key}\0{value}".encode()).hexdigest()


def index_version(session: Session, row: VersionRow) -> None:
    """Make a version's current tags and metrics known to lists."""
    for table in (VersionTagRow, VersionMetricRow):
        session.execute(delete(table).where(table.model == row.model, table.version == row.version))
    own = {"model": row.model, "version": row.version}
    session.add_all(VersionTagRow(label=label(key, value), **own) for key, value in row.tags.items())
    session.add_all(VersionMetricRow(key=key, value=value, **own) for key, value in row.metrics.items())


def index_model(session: Session, row: ModelRow) -> None:
    """Make a model's current tags known to lists."""
    session.execute(delete(ModelTagRow).where(ModelTagRow.model == row.name))
    session.add_all(ModelTagRow(label=label(key, value), model=row.name) for key, value in row.tags.items())

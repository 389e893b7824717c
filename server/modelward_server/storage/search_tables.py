"""Search tables: the current tags, metrics and inventories of models and versions, with indexes for filters.

There is one row for each value. The rows duplicate `ModelRow.tags`, `ModelRow.inventory`, `VersionRow.tags` and
`VersionRow.metrics`. They are written in the transaction that changes those, only by the functions of this module.
"""

import hashlib
from collections.abc import Iterable, Mapping

from sqlalchemy import Index, String, bindparam, delete, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from modelward_server.storage.tables import Base, ModelRow, Name, VersionRow


class ModelTagRow(Base):
    __tablename__ = "ledger_model_tags"

    model: Mapped[str] = mapped_column(Name, primary_key=True)
    key: Mapped[str] = mapped_column(Name, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))

    __table_args__ = (Index("ledger_model_tags_by_value", "key", "digest", "model"),)


class ModelInventoryRow(Base):
    __tablename__ = "ledger_model_inventory"

    model: Mapped[str] = mapped_column(Name, primary_key=True)
    field: Mapped[str] = mapped_column(String(16), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)

    __table_args__ = (Index("ledger_model_inventory_by_value", "field", "digest", "model"),)


class VersionTagRow(Base):
    __tablename__ = "ledger_version_tags"

    model: Mapped[str] = mapped_column(Name, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Name, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))

    __table_args__ = (Index("ledger_version_tags_by_value", "key", "digest", "model", version.desc()),)


class VersionMetricRow(Base):
    __tablename__ = "ledger_version_metrics"

    model: Mapped[str] = mapped_column(Name, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Name, primary_key=True)
    value: Mapped[float]

    __table_args__ = (Index("ledger_version_metrics_by_value", "key", "value", "model", "version"),)


DELETE_METRIC = delete(VersionMetricRow).where(
    VersionMetricRow.model == bindparam("model"),
    VersionMetricRow.version == bindparam("version"),
    VersionMetricRow.key == bindparam("key"),
)
INSERT_METRIC = insert(VersionMetricRow)


def value_digest(value: str) -> str:
    """Return the SHA-256 of a tag's value: PostgreSQL cannot index text of 5,000 characters."""
    return hashlib.sha256(value.encode()).hexdigest()


def set_model_tags(session: Session, row: ModelRow, tags: Mapping[str, str]) -> None:
    """Replace the tags of a model."""
    row.tags = dict(tags)
    session.execute(delete(ModelTagRow).where(ModelTagRow.model == row.name))
    if tags:
        session.execute(insert(ModelTagRow), [{"model": row.name, **tag} for tag in _tag_values(tags)])


def set_model_inventory(session: Session, model: str, values: Mapping[str, Iterable[str]]) -> None:
    """Replace the values of a model's inventory by which models are found: for each field its values."""
    session.execute(delete(ModelInventoryRow).where(ModelInventoryRow.model == model))
    rows = [(field, value_digest(value)) for field in values for value in values[field]]
    if rows:
        named = [{"model": model, "field": field, "digest": digest} for field, digest in rows]
        session.execute(insert(ModelInventoryRow), named)


def set_version_tags(session: Session, row: VersionRow, tags: Mapping[str, str]) -> None:
    """Replace the tags of a version."""
    row.tags = dict(tags)
    existing = (VersionTagRow.model == row.model) & (VersionTagRow.version == row.version)
    session.execute(delete(VersionTagRow).where(existing))
    if tags:
        version = {"model": row.model, "version": row.version}
        session.execute(insert(VersionTagRow), [version | tag for tag in _tag_values(tags)])


def set_version_metrics(session: Session, row: VersionRow, metrics: Mapping[str, float]) -> None:
    """Set the values of these metrics of a version; its other metrics are kept."""
    row.metrics = {**row.metrics, **metrics}
    values = [{"model": row.model, "version": row.version, "key": key, "value": metrics[key]} for key in metrics]
    if values:  # Without the ORM, which takes most of the time of a small change.
        session.connection().execute(DELETE_METRIC, values)
        session.connection().execute(INSERT_METRIC, values)


def _tag_values(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "digest": value_digest(value)} for key, value in tags.items()]

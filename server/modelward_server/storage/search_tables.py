"""What lists are filtered by: the tags and metrics that models and versions have now, a row each, with indexes.

The rows say again what stands in `ModelRow.tags`, `VersionRow.tags` and `VersionRow.metrics`. They are written in the
transaction that changes those, by the functions here and by nothing else.
"""

import hashlib
from collections.abc import Mapping

from sqlalchemy import Index, String, delete, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from modelward_server.storage.tables import Base, ModelRow, Name, VersionRow


class ModelTagRow(Base):
    __tablename__ = "ledger_model_tags"

    model: Mapped[str] = mapped_column(Name, primary_key=True)
    key: Mapped[str] = mapped_column(Name, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))

    __table_args__ = (Index("ledger_model_tags_by_value", "key", "digest", "model"),)


class VersionTagRow(Base):
    __tablename__ = "ledger_version_tags"

    model: Mapped[str] = mapped_column(Name, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Name, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))

    __table_args__ = (Index("ledger_version_tags_by_value", "key", "digest", "model", "version"),)


class VersionMetricRow(Base):
    __tablename__ = "ledger_version_metrics"

    model: Mapped[str] = mapped_column(Name, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Name, primary_key=True)
    value: Mapped[float]

    __table_args__ = (Index("ledger_version_metrics_by_value", "key", "value", "model", "version"),)


def value_digest(value: str) -> str:
    """Return the SHA-256 of a tag's value: PostgreSQL indexes no text of 5,000 characters."""
    return hashlib.sha256(value.encode()).hexdigest()


def set_model_tags(session: Session, row: ModelRow, tags: Mapping[str, str]) -> None:
    """Give a model these tags in place of those it has."""
    row.tags = dict(tags)
    session.execute(delete(ModelTagRow).where(ModelTagRow.model == row.name))
    if tags:
        session.execute(insert(ModelTagRow), [{"model": row.name, **tag} for tag in _tag_values(tags)])


def set_version_tags(session: Session, row: VersionRow, tags: Mapping[str, str]) -> None:
    """Give a version these tags in place of those it has."""
    row.tags = dict(tags)
    mine = (VersionTagRow.model == row.model) & (VersionTagRow.version == row.version)
    session.execute(delete(VersionTagRow).where(mine))
    if tags:
        of = {"model": row.model, "version": row.version}
        session.execute(insert(VersionTagRow), [of | tag for tag in _tag_values(tags)])


def set_version_metrics(session: Session, row: VersionRow, metrics: Mapping[str, float]) -> None:
    """Give a version the values of these metrics; it keeps those of others."""
    row.metrics = {**row.metrics, **metrics}
    mine = (VersionMetricRow.model == row.model) & (VersionMetricRow.version == row.version)
    session.execute(delete(VersionMetricRow).where(mine, VersionMetricRow.key.in_(metrics)))
    if metrics:
        of = {"model": row.model, "version": row.version}
        session.execute(
            insert(VersionMetricRow), [{**of, "key": key, "value": value} for key, value in metrics.items()]
        )


def _tag_values(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "digest": value_digest(value)} for key, value in tags.items()]

"""The ledger's table for those who may call."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from modelward_server.storage.tables import Base, Name


class GrantRow(Base):
    """What a token, or a certificate's common name, lets its holder do. No secret is in it."""

    __tablename__ = "ledger_grants"

    grant_id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(Name)
    role: Mapped[str] = mapped_column(String(16))
    models: Mapped[list[Any]]
    digest: Mapped[str] = mapped_column(String(64))
    """SHA-256 of a token's secret; empty for a certificate."""
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "ledger_grants_of_certificates",
            "name",
            unique=True,
            sqlite_where=text("digest = '' AND revoked_at IS NULL"),
            postgresql_where=text("digest = '' AND revoked_at IS NULL"),
        ),
    )


class KeyRow(Base):
    """A random key that the servers of this ledger share; a migration made it."""

    __tablename__ = "ledger_keys"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary)


class UploadRow(Base):
    """Who, of those limited to some models, has sent the bytes of a content and so may refer to it."""

    __tablename__ = "ledger_uploads"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    uploader: Mapped[str] = mapped_column(String(256), primary_key=True)
    uploaded_at: Mapped[datetime]

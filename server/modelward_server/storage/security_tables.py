"""The ledger's tables for grants, shared keys and uploads."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from modelward_server.storage.tables import Base, Name


class GrantRow(Base):
    """The permissions of a token's holder, or of a certificate's common name. It contains no secret."""

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
    functions: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")
    """The functions for which its holder decides requests of approval."""

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
    """A random key that the servers of this ledger share; created by a migration."""

    __tablename__ = "ledger_keys"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary)


class UploadRow(Base):
    """Records that a client restricted to some models has sent the bytes of a content and so may refer to it."""

    __tablename__ = "ledger_uploads"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    uploader: Mapped[str] = mapped_column(String(256), primary_key=True)
    uploaded_at: Mapped[datetime]

"""The ledger's table for signatures over the files of versions."""

from sqlalchemy import ForeignKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from modelward_server.storage.tables import Base, Name


class ModelSignatureRow(Base):
    """The bundle of a signature, which was verified; large beside its version, with whose row it is not read."""

    __tablename__ = "ledger_model_signatures"

    model: Mapped[str] = mapped_column(Name, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    bundle: Mapped[str]
    """The bundle as it was received, JSON."""

    __table_args__ = (ForeignKeyConstraint(["model", "version"], ["ledger_versions.model", "ledger_versions.version"]),)

"""What MLflow shows of a version that is not the version's own: rows of its reference."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from modelward.drift import DEFAULT_REFERENCE
from modelward.lifecycle import VersionRef
from modelward_server.storage.drift_tables import ReferenceRow


@dataclass(frozen=True)
class Details:
    """What the ledger has for a version."""

    example: bytes = b""
    """Rows of its default reference as an Arrow stream; empty if there are none."""


NOTHING = Details()


def read_details(session: Session, ref: VersionRef) -> Details:
    """Read what is shown of a version."""
    reference = session.get(ReferenceRow, (ref.model, ref.version, DEFAULT_REFERENCE))
    return Details((reference.example if reference else None) or b"")

"""The lineage of versions: set it, and record each change."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from modelward.errors import FieldViolation, InvalidField
from modelward.inventory import Lineage
from modelward_server.actor_context import ActorContext
from modelward_server.storage import audit
from modelward_server.storage.audit import Kind
from modelward_server.storage.documents import LINEAGE
from modelward_server.storage.tables import VersionRow


@dataclass(frozen=True)
class LineageChange:
    """A change of a version's lineage, as the audit log records it beside the changed version."""

    before: Lineage
    after: Lineage


def lineage_of(row: VersionRow) -> Lineage:
    """Return the lineage of a version."""
    return LINEAGE.load(row.lineage) if row.lineage else Lineage()


def set_lineage(row: VersionRow, lineage: Lineage) -> None:
    """Replace the lineage of a version.

    Raises:
        InvalidField: the parent is not an earlier version.
    """
    if lineage.parent_version >= row.version:
        fix = f"is {lineage.parent_version}, but the version is {row.version}; name an earlier one"
        raise InvalidField(FieldViolation("lineage.parent_version", fix))
    row.lineage = LINEAGE.dump(lineage) if lineage != Lineage() else None


def record_lineage(session: Session, row: VersionRow, before: Lineage, actor: ActorContext) -> None:
    """Record the change of a version's lineage, if it changed."""
    after = lineage_of(row)
    if before != after:
        audit.append(session, Kind.LINEAGE, row.model, LineageChange(before, after), actor, row.version)

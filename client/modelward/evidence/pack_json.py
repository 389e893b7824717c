"""What the files of evidence packs say, as the classes of the SDK."""

from datetime import datetime
from typing import Any

from modelward.lifecycle import ArtifactFile, AuditRecord


def record_from_json(read: dict[str, Any]) -> AuditRecord:
    """Return an audit record.

    Args:
        read: the contract's message as JSON.

    Returns:
        The record.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    return AuditRecord(
        sequence=int(read["sequence"]),
        happened_at=datetime.fromisoformat(read["happened_at"]),
        actor=read.get("actor", ""),
        kind=read["kind"],
        model=read.get("model", ""),
        version=int(read.get("version", 0)),
        payload=read["payload"],
        previous_hash=read["previous_hash"],
        hash=read["hash"],
    )


def artifact_from_json(read: dict[str, Any]) -> ArtifactFile:
    """Return a file of a version.

    Args:
        read: the contract's message as JSON.

    Returns:
        The file.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    return ArtifactFile(read["path"], int(read.get("size_bytes", 0)), read["sha256"])

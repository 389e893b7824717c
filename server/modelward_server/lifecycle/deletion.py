"""Delete the files of archived versions to free space; the record and the digests are kept."""

from sqlalchemy.orm import Session

from modelward.errors import ArtifactDeleted, FieldViolation, IllegalTransition, InvalidField
from modelward.lifecycle import ModelVersion, Stage, VersionRef
from modelward.shared.blank import is_blank
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.repository import check_etag, etag, to_version, version_row
from modelward_server.lifecycle.stages import LEGAL_MOVES
from modelward_server.lifecycle.versions import record_change


def delete_artifact(
    session: Session, ref: VersionRef, reason: str, expected_etag: str, actor: ActorContext
) -> ModelVersion:
    """Delete the files of an archived version; their content is removed once no other version refers to it.

    If the files were deleted already, nothing changes.

    Raises:
        ModelNotFound, VersionNotFound: the version does not exist.
        InvalidField: the reason is blank.
        EtagMismatch: the version has changed since `expected_etag` was read.
        IllegalTransition: the version is not archived.
    """
    if is_blank(reason):
        raise InvalidField(FieldViolation("reason", "is blank; state why, for the record"))
    row = version_row(session, ref, lock=True)
    check_etag(expected_etag, etag(row))
    if row.artifact_deleted_at is not None:
        return to_version(row)
    _check_archived(ref, Stage(row.stage))
    row.artifact_deleted_by, row.artifact_deletion_reason = actor.name, reason
    row.artifact_deleted_at = actor.at
    return record_change(session, row, actor)


def check_not_deleted(version: ModelVersion) -> None:
    """Check that the files of a version have not been deleted.

    Raises:
        ArtifactDeleted: they have; the error states by whom and why.
    """
    if deletion := version.artifact_deletion:
        deletion_text = (
            f"the files of {version} were deleted by {deletion.deleted_by} at {deletion.deleted_at.isoformat()}"
        )
        raise ArtifactDeleted(
            f"{deletion_text}: {deletion.reason}; register them again as a new version",
            model=version.model,
            version=version.version,
            deleted_by=deletion.deleted_by,
            reason=deletion.reason,
        )


def _check_archived(ref: VersionRef, stage: Stage) -> None:
    if stage is not Stage.ARCHIVED:
        raise IllegalTransition(
            f"{ref} is in {stage}, and only the files of archived versions can be deleted; archive it first",
            **{"from": stage, "to": Stage.ARCHIVED, "legal": ",".join(LEGAL_MOVES[stage])},
        )

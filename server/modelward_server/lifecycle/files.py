"""Which files of a version a download means."""

from collections.abc import Sequence

from modelward.errors import FieldViolation, FileNotInArtifact, InvalidField
from modelward.lifecycle import ArtifactFile, ModelVersion


def chosen(version: ModelVersion, path: str, offset: int) -> Sequence[ArtifactFile]:
    """Return the file at `path`, or all files when it is empty.

    Raises:
        FileNotInArtifact: the version has no such file.
        InvalidField: an offset without a path, or behind the file's end.
    """
    if not path:
        _check(offset == 0, "needs a path; without one all files are sent from their beginning")
        return version.files
    found = [file for file in version.files if file.path == path]
    if not found:
        has = ", ".join(file.path for file in version.files[:10])
        raise FileNotInArtifact(
            f"{version} has no file {path!r}; it has {has}", model=version.model, version=version.version, path=path
        )
    _check(offset <= found[0].size_bytes, f"lies behind the end; the file has {found[0].size_bytes} bytes")
    return found


def _check(holds: bool, fix: str) -> None:
    if not holds:
        raise InvalidField(FieldViolation("offset", fix))

"""The files of a version: which names they may have, and which of them a download means."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from modelward.errors import FieldViolation, FileNotInArtifact, InvalidField
from modelward.lifecycle import ArtifactFile, ModelVersion

MAX_PATH_CHARACTERS = 512
MAX_PART_BYTES = 255
"""What file systems allow for one name."""
MAX_FILES = 10_000


def check_paths(files: Sequence[ArtifactFile]) -> None:
    """Refuse files that cannot lie in one folder, also where they do not come by a manifest.

    Raises:
        InvalidField: a path leads elsewhere, is too long or holds what a name may not, or one is another's folder.
    """
    paths = {file.path for file in files}
    if len(files) > MAX_FILES:
        raise InvalidField(FieldViolation("files", f"are {len(files):,}; {MAX_FILES:,} are the most"))
    wrong = [FieldViolation(f"files[{path[:100]!r}]", fix) for path in sorted(paths) if (fix := _defect(path, paths))]
    if wrong:
        raise InvalidField(*wrong[:20])


def _defect(path: str, paths: set[str]) -> str:
    """Say what is wrong with a path; empty when nothing is."""
    parts = path.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or "\\" in path:
        return "must be a relative path that stays in its folder"
    if any(ord(one) < 32 or 127 <= ord(one) < 160 or "\ud800" <= one <= "\udfff" for one in path):
        return "holds a control character, or what is no text; rename the file"
    if len(path) > MAX_PATH_CHARACTERS or max(len(part.encode()) for part in parts) > MAX_PART_BYTES:
        return f"is too long: {MAX_PATH_CHARACTERS} characters are the most, and {MAX_PART_BYTES} bytes between slashes"
    folders = [folder for folder in map(str, PurePosixPath(path).parents) if folder in paths]
    return f"lies in {folders[0]!r}, which is a file, too; rename one of them" if folders else ""


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

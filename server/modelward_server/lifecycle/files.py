"""The files of a version: valid paths, and the selection for a download."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from modelward.errors import FieldViolation, FileNotInArtifact, InvalidField
from modelward.formats import Format
from modelward.lifecycle import ArtifactFile, ModelVersion

MAX_PATH_CHARACTERS = 512
MAX_PART_BYTES = 255
"""The maximum length of one name in common file systems."""
MAX_FILES = 10_000


def check_paths(files: Sequence[ArtifactFile]) -> None:
    """Validate that files can be stored in one folder, also if they were not sent as a manifest.

    Raises:
        InvalidField: a path leaves the folder, is too long, contains invalid characters, or is the folder of another.
    """
    paths = {file.path for file in files}
    if len(files) > MAX_FILES:
        raise InvalidField(FieldViolation("files", f"are {len(files):,}; at most {MAX_FILES:,} are allowed"))
    violations = [
        FieldViolation(f"files[{path[:100]!r}]", fix) for path in sorted(paths) if (fix := _path_defect(path, paths))
    ]
    if violations:
        raise InvalidField(*violations[:20])


def _path_defect(path: str, paths: set[str]) -> str:
    """Return what is wrong with a path; empty if it is valid."""
    parts = path.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or "\\" in path:
        return "must be a relative path that stays in its folder"
    if any(ord(one) < 32 or 127 <= ord(one) < 160 or "\ud800" <= one <= "\udfff" for one in path):
        return "contains a control character or invalid text; rename the file"
    if len(path) > MAX_PATH_CHARACTERS or max(len(part.encode()) for part in parts) > MAX_PART_BYTES:
        return f"is too long: at most {MAX_PATH_CHARACTERS} characters, and {MAX_PART_BYTES} bytes between slashes"
    folders = [folder for folder in map(str, PurePosixPath(path).parents) if folder in paths]
    return f"is in {folders[0]!r}, which is a file, too; rename one of them" if folders else ""


def model_file(version: ModelVersion, known: Format) -> tuple[str, ArtifactFile | None]:
    """Return the path of the file that holds a version's model, and the file; None if the version has no such file."""
    name = version.model_file or known.file_name
    return name, next((file for file in version.files if file.path == name), None)


def selected_files(version: ModelVersion, path: str, offset: int) -> Sequence[ArtifactFile]:
    """Return the file at `path`, or all files if it is empty.

    Raises:
        FileNotInArtifact: the version has no file at that path.
        InvalidField: an offset without a path, or beyond the end of the file.
    """
    if not path:
        _check(offset == 0, "needs a path; without one all files are sent from their beginning")
        return version.files
    matching = [file for file in version.files if file.path == path]
    if not matching:
        has = ", ".join(file.path for file in version.files[:10])
        raise FileNotInArtifact(
            f"{version} has no file {path!r}; it has {has}", model=version.model, version=version.version, path=path
        )
    _check(offset <= matching[0].size_bytes, f"is beyond the end; the file has {matching[0].size_bytes} bytes")
    return matching


def _check(holds: bool, fix: str) -> None:
    if not holds:
        raise InvalidField(FieldViolation("offset", fix))

"""A version's manifest: file names that stay inside their folder, and one digest over all files."""

import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from unicodedata import normalize

from modelward.errors import DigestMismatch, FieldViolation, InvalidField
from modelward.lifecycle import ArtifactFile, ModelVersion

MAX_PATH_CHARACTERS = 512
"""Maximum length of a whole path; from the contract."""
MAX_PART_BYTES = 255
"""Maximum length of one path component; the limit of common file systems."""
SHA256 = re.compile("[0-9a-f]{64}")
DRIVE = re.compile("[A-Za-z]:")
RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?|.*[. ]|.*[<>:\"|?*].*")
"""Names that Windows reserves for devices or alters."""
IS_WINDOWS = sys.platform == "win32"
IGNORES_CASE = sys.platform in {"win32", "darwin"}
"""Whether this platform treats names that differ only by case as the same file."""


def manifest_digest(files: Sequence[ArtifactFile]) -> str:
    """Return the SHA-256 of a manifest, its files sorted by path, as compact JSON of [path, size, sha256]."""
    entries = sorted([file.path, file.size_bytes, file.sha256] for file in files)
    return hashlib.sha256(json.dumps(entries, separators=(",", ":")).encode()).hexdigest()


def check_manifest(version: ModelVersion) -> None:
    """Check a version's manifest before building paths from it or downloading.

    Raises:
        InvalidField: a name leads out of the folder, or two names cannot coexist in one folder.
        DigestMismatch: a digest is not a SHA-256, or the version's digest is not that of its files.
    """
    check_names([file.path for file in version.files])
    for file in version.files:
        if not SHA256.fullmatch(file.sha256) or file.size_bytes < 0:
            raise DigestMismatch(f"{version}: {file.path!r} has no valid SHA-256 and size")
    actual = manifest_digest(version.files)
    if version.digest != actual:
        raise DigestMismatch(
            f"{version} has the digest {version.digest!r} on record, but its files have {actual}",
            expected=version.digest,
            actual=actual,
        )


def check_names(names: Sequence[str]) -> None:
    """Check that all names can coexist in one folder.

    Raises:
        InvalidField: a name leads out of the folder or is too long, or two names conflict.
    """
    for name in names:
        check_name(name)
    files = Counter(map(_identity, names))
    for name in names:
        folders = map(str, PurePosixPath(_identity(name)).parents)
        if files[_identity(name)] > 1 or any(folder in files for folder in folders):
            raise _invalid_path(name, "conflicts with another file of that name")


def check_name(name: str) -> None:
    """Check a file's path.

    Raises:
        InvalidField: it leads out of the folder, or is too long.
    """
    parts = name.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or "\\" in name or DRIVE.match(name):
        raise _invalid_path(name, "leads out of the folder")
    if any(ord(character) < 32 or "\ud800" <= character <= "\udfff" for character in name):
        raise _invalid_path(name, "contains a control character or a lone surrogate")
    if len(name) > MAX_PATH_CHARACTERS or max(map(_size, parts)) > MAX_PART_BYTES:
        raise _invalid_path(
            name, f"exceeds {MAX_PATH_CHARACTERS} characters, or {MAX_PART_BYTES} bytes in one component"
        )
    if IS_WINDOWS and any(map(RESERVED.fullmatch, parts)):
        raise _invalid_path(name, "is a name reserved by Windows")


def _size(part: str) -> int:
    return len(part.encode(errors="surrogatepass"))


def _identity(name: str) -> str:
    """Return the key by which this platform distinguishes names."""
    return normalize("NFC", name).casefold() if IGNORES_CASE else name


def _invalid_path(name: str, problem: str) -> InvalidField:
    shown = name if len(name) <= MAX_PATH_CHARACTERS else f"{name[:50]}…"
    return InvalidField(FieldViolation("path", f"{shown!r} {problem}"))

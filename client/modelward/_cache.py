"""The copy of followed versions on the disk: files by digest, and of each model the last version that was good.

The cache is the user's alone, and nothing in it is believed unseen: files are verified each time that a version is
taken from it, and a record of the last good version counts only when it is whole, of this model, stage and server, and
all its files are there.
"""

import hashlib
import logging
import os
from pathlib import Path

from google.protobuf.message import DecodeError

from modelward._private import FOLDER_MODE, check_trusted, make_private_folder, sync_folder, write_private
from modelward._transfers import holds, inside
from modelward.errors import ModelwardError
from modelward.lifecycle import ModelVersion
from modelward.shared.convert.lifecycle import version_from_proto, version_to_proto
from modelward.shared.manifest import check_manifest
from modelward.v1 import lifecycle_pb2 as pb

log = logging.getLogger(__name__)

MAGIC = b"modelward last good version 1\n"
"""What a record begins with, before a SHA-256 over key and content, and the content."""
DIGEST_BYTES = 32


class Cache:
    """Versions on the disk.

    Args:
        folder: where; `modelward` in the user's cache folder when it is None.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder or _home() / "modelward"
        self._artifacts = self._folder / "artifacts"
        self._last_good = self._folder / "last-good"

    def open(self) -> None:
        """Make the cache, or check that what is there can be trusted. Call it before anything else.

        Raises:
            InvalidField: the cache, or a folder in it, belongs to another user, or others may write there.
        """
        make_private_folder(self._folder)
        check_trusted(self._folder)
        for folder in (self._artifacts, self._last_good):
            make_private_folder(folder)
            check_trusted(folder)
            folder.chmod(FOLDER_MODE)

    def artifact(self, version: ModelVersion) -> Path:
        """Return the folder for the files of a version; versions of the same files share it.

        Raises:
            InvalidField, DigestMismatch: what is said of the files makes no sense.
        """
        check_manifest(version)
        folder = self._artifacts / version.digest
        make_private_folder(folder)
        sync_folder(self._artifacts)
        return folder

    def remember(self, key: str, version: ModelVersion) -> None:
        """Keep a version as the last one that was good. A disk that takes nothing more ends no following."""
        content = version_to_proto(version).SerializeToString()
        try:
            write_private(self._record(key), MAGIC + _checksum(key, content) + content)
        except OSError as error:
            log.warning("%s is used, but not kept as the last good version: %s", version, error)

    def last_good(self, key: str, model: str) -> ModelVersion | None:
        """Return the last version that was good, if its record is whole and its files still are good."""
        path = self._record(key)
        if not path.exists():
            return None
        try:
            return self._checked(_read(key, path.read_bytes()), model)
        except (OSError, ValueError, DecodeError, ModelwardError) as error:
            log.warning("the last good version in %s is left alone: %s", path, error)
            return None

    def _checked(self, version: ModelVersion, model: str) -> ModelVersion:
        folder = self.artifact(version)
        if version.model != model:
            raise ValueError(f"it is {version!r}, and {model!r} is followed")
        if not all(holds(inside(folder, file.path), file) for file in version.files):
            raise ValueError(f"files of {version} are lacking or damaged")
        return version

    def _record(self, key: str) -> Path:
        return self._last_good / hashlib.sha256(key.encode()).hexdigest()


def _read(key: str, record: bytes) -> ModelVersion:
    content = record[len(MAGIC) + DIGEST_BYTES :]
    if record != MAGIC + _checksum(key, content) + content:
        raise ValueError("the record is not whole, or not of this model, stage and server")
    return version_from_proto(pb.ModelVersion.FromString(content))


def _checksum(key: str, content: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + content).digest()


def _home() -> Path:
    """Return the user's cache folder; a relative one in the environment does not count, as XDG has it."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else Path.home() / ".cache"

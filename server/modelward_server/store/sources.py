"""Reading from where a URI points, within what the operator allows."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from modelward.errors import FieldViolation, InvalidField, SourceNotAllowed
from modelward.lifecycle import ArtifactFile
from modelward_server.store.artifacts import BlobStore

MLFLOW_SCHEMES = ("runs:", "models:", "mlflow-artifacts:")
"""What MLflow alone knows how to find."""
Download = Callable[[str, Path], Path]
"""Fetches a URI into a folder and returns where it lies."""


class Sources:
    """Opens URIs that begin with one of the allowed prefixes.

    Args:
        allowed: prefixes of URIs, as `file:///srv/models/` or `s3://bucket/models/`.
        download: fetches what is not a local file, as MLflow's artifact repositories do.
        blobs: what was uploaded.
    """

    def __init__(self, allowed: Sequence[str], download: Download, blobs: BlobStore) -> None:
        self._allowed = allowed
        self._download = download
        self._blobs = blobs

    def blob(self, sha256: str, field: str) -> Path:
        """Return where a content lies that was uploaded.

        Raises:
            InvalidField: it was not, or not to its end.
        """
        path = self._blobs.path(sha256)
        if not path.is_file():
            raise InvalidField(FieldViolation(field, f"no content {sha256} is here; bring it with UploadBlobs first"))
        return path

    def local_path(self, uri: str, field: str) -> Path:
        """Return the path of a `file://` URI.

        Raises:
            SourceNotAllowed: it does not lie in an allowed place, also when links lead out of one.
            InvalidField: it is not a `file://` URI, or nothing is there.
        """
        if urlsplit(uri).scheme != "file":
            raise InvalidField(FieldViolation(field, f"{uri!r} is not a file:// URI"))
        path = _path(uri)
        if not any(path.is_relative_to(_path(prefix)) for prefix in self._allowed if prefix.startswith("file:")):
            _refuse(uri)
        if not path.exists():
            raise InvalidField(FieldViolation(field, f"there is nothing at {uri!r}"))
        return path

    @contextmanager
    def reachable(self, uri: str, field: str) -> Iterator[str]:
        """Give where files can be read in parts for the time of the block: a local path, or the URI of a store.

        Raises:
            as `fetched`.
        """
        if uri.startswith(("file:", *MLFLOW_SCHEMES)):
            with self.fetched(uri, field) as path:
                yield str(path)
        elif any(uri.startswith(prefix) for prefix in self._allowed):
            yield uri
        else:
            _refuse(uri)

    @contextmanager
    def fetched(self, uri: str, field: str) -> Iterator[Path]:
        """Give the file or folder that a URI points to, as a local path for the time of the block.

        Raises:
            SourceNotAllowed: it does not lie in an allowed place.
            InvalidField: nothing can be read there.
        """
        if uri.startswith("file:"):
            yield self.local_path(uri, field)
            return
        if not any(uri.startswith(prefix) for prefix in self._allowed):
            _refuse(uri)
        with tempfile.TemporaryDirectory() as folder:
            yield self._download(uri, Path(folder))

    def copy_artifact(self, uri: str, blobs: BlobStore) -> list[ArtifactFile]:
        """Store the files at a URI as blobs and describe them.

        Raises:
            SourceNotAllowed: it does not lie in an allowed place.
            InvalidField: nothing can be read there, or a file is a link that leads out of the folder.
        """
        with self.fetched(uri, "source_uri") as root:
            files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
            if not files:
                raise InvalidField(FieldViolation("source_uri", f"there is no file in {uri!r}"))
            base = root.parent if root.is_file() else root
            _check_inside(files, base)
            return [blobs.put_file(file, file.relative_to(base).as_posix()) for file in files]


def _path(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path)).resolve()


def _check_inside(files: Sequence[Path], base: Path) -> None:
    outside = [file for file in files if not file.resolve().is_relative_to(base.resolve())]
    if outside:
        raise InvalidField(FieldViolation("source_uri", f"{outside[0].name!r} is a link that leads out of the folder"))


def _refuse(uri: str) -> None:
    raise SourceNotAllowed(
        f"the server may not read {uri!r}; its operator allows places with MODELWARD_ALLOWED_SOURCES", uri=uri
    )

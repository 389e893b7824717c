"""Access to data and artifacts by URI, within the locations that the operator allows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Never, Protocol
from urllib.parse import unquote, urlsplit

from modelward.errors import FieldViolation, InvalidField, ModelNotAllowed, SourceNotAllowed
from modelward.lifecycle import ArtifactFile
from modelward_server import identity
from modelward_server.runtime.temporary_folders import temporary_folder
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.locations import MLFLOW_SCHEMES, Location, model_of


class RemoteFiles(Protocol):
    """Reads files that are not local, such as those of MLflow's artifact repositories."""

    def locate(self, uri: str) -> tuple[str, Sequence[str]]:
        """Return the URI for MLflow with a number in place of an alias, and every location that it resolves to."""

    def download(self, uri: str, to: Path) -> Path:
        """Download a URI into a folder and return the local path."""


class Sources:
    """Opens URIs in the allowed locations.

    Args:
        allowed: URIs of locations, such as `file:///srv/models/` or `s3://bucket/models`; a scheme such as `runs:/`
            allows all of its URIs.
        remote: reads files that are not local.
        blobs: the uploaded contents.
        own_artifacts: the folder in which this server's own MLflow stores artifacts, if it does.

    Raises:
        ValueError: a location is not a URI.
    """

    def __init__(
        self, allowed: Sequence[str], remote: RemoteFiles, blobs: BlobStore, own_artifacts: Path | None = None
    ) -> None:
        self._allowed = [Location.parse(uri) for uri in allowed]
        folders = [Path("/", *location.parts) for location in self._allowed if location.scheme == "file"]
        self._folders = [folder.resolve() for folder in folders]
        self._own = [own_artifacts.resolve()] if own_artifacts else []
        self._remote = remote
        self._blobs = blobs

    def blob(self, sha256: str, field: str) -> Path:
        """Return the path of an uploaded content.

        Raises:
            InvalidField: it was not uploaded, or not completely.
            DigestMismatch: it is truncated or was changed.
        """
        if not self._blobs.path(sha256).is_file():
            raise InvalidField(FieldViolation(field, f"no content {sha256} is here; upload it first (UploadBlobs)"))
        return self._blobs.verified(sha256)

    @contextmanager
    def readable_uri(self, uri: str, field: str) -> Iterator[str]:
        """Yield what readers of partial files can open within the block: a local path, or the URI of a store.

        Raises:
            See `fetch`.
        """
        if self._checked(uri).scheme not in {"file", *_schemes()}:
            yield uri
            return
        with self.fetch(uri, field) as path:
            yield str(path)

    @contextmanager
    def fetch(self, uri: str, field: str) -> Iterator[Path]:
        """Yield the file or folder of a URI as a local path that exists within the block.

        Raises:
            SourceNotAllowed: it is not in an allowed location, also when links or MLflow lead out of one.
            ModelNotAllowed: the client is restricted to some models, and these are not the files of one of them.
            InvalidField: nothing can be read there.
        """
        location = self._checked(uri)
        if location.scheme == "file":
            yield _existing(self._local(Path("/", *location.parts), uri, self._folders), uri, field)
            return
        if location.scheme in _schemes():
            uri = self._resolved(uri)
        with temporary_folder() as folder:
            yield self._remote.download(uri, Path(folder))

    def copy_artifact(self, uri: str, blobs: BlobStore) -> list[ArtifactFile]:
        """Store the files at a URI as blobs and describe them.

        Raises:
            InvalidField: a file is a link that leads out of the folder, or nowhere.
            See `fetch`.
        """
        with self.fetch(uri, "source_uri") as root:
            files = _files(root)
            if not files:
                raise InvalidField(FieldViolation("source_uri", f"there is no file in {uri!r}"))
            base = root.parent if root.is_file() else root
            _check_inside(files, base)
            return [blobs.put_file(file, file.relative_to(base).as_posix()) for file in files]

    def check(self, uri: str) -> None:
        """Check that a URI may be read, without reading it.

        Raises:
            SourceNotAllowed, ModelNotAllowed: as `fetch`.
        """
        self._checked(uri)

    def _checked(self, uri: str) -> Location:
        """Parse a URI and check that the client's restriction and the operator's list allow it."""
        client = identity.current.get()
        if client and client.models and not ((model := model_of(uri)) and client.may_reach(model)):
            raise ModelNotAllowed(f"{uri!r} is no location of a model of {client.name}", models=",".join(client.models))
        try:
            location = Location.parse(uri)
        except ValueError as error:
            _refuse(uri, str(error))
        if not any(allowed.contains(location) for allowed in self._allowed):
            _refuse(uri, "is in no allowed location")
        return location

    def _resolved(self, uri: str) -> str:
        """Return the URI to download for one of MLflow, once all the locations that it resolves to are allowed."""
        fixed, locations = self._remote.locate(uri)
        for location in locations:
            scheme = urlsplit(location).scheme
            if scheme in {"", "file"}:
                path = Path(unquote(urlsplit(location).path) if scheme else location)
                local = self._local(path, uri, [*self._folders, *self._own])
                _check_inside(_files(local), local)
            elif not self._allows(location):
                _refuse(uri, f"leads to {location!r}, which is in no allowed location")
        return fixed

    def _allows(self, uri: str) -> bool:
        try:
            location = Location.parse(uri)
        except ValueError:
            return False
        own = location.scheme == "mlflow-artifacts"  # Served by the tracking server: the URI names no other.
        return own or any(allowed.contains(location) for allowed in self._allowed)

    def _local(self, path: Path, uri: str, folders: Sequence[Path]) -> Path:
        """Return a path with all links resolved, which is inside one of the folders."""
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a cycle of links.
            _refuse(uri, f"cannot be followed: {error}")
        if not any(real.is_relative_to(folder) for folder in folders):
            _refuse(uri, "leads to a local path outside the allowed locations")
        return real


def _schemes() -> set[str]:
    return {scheme.rstrip(":") for scheme in MLFLOW_SCHEMES}


def _existing(path: Path, uri: str, field: str) -> Path:
    try:
        if path.exists():
            return path
    except OSError as error:
        raise InvalidField(FieldViolation(field, f"{uri!r} cannot be read: {error.strerror}")) from error
    raise InvalidField(FieldViolation(field, f"there is nothing at {uri!r}"))


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    paths = sorted(root.rglob("*"))
    broken = [path for path in paths if path.is_symlink() and not path.exists()]
    if broken:
        raise InvalidField(FieldViolation("source_uri", f"{broken[0].name!r} is a link that leads nowhere"))
    return [path for path in paths if path.is_file()]


def _check_inside(files: Sequence[Path], base: Path) -> None:
    outside = [file for file in files if not file.resolve().is_relative_to(base.resolve())]
    if outside:
        raise InvalidField(FieldViolation("source_uri", f"{outside[0].name!r} is a link that leads out of the folder"))


def _refuse(uri: str, why: str) -> Never:
    fix = "its operator allows locations with MODELWARD_ALLOWED_SOURCES"
    raise SourceNotAllowed(f"the server may not read {uri!r}: it {why}; {fix}", uri=uri)

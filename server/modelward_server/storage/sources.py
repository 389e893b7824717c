"""Reading from where a URI points, within what the operator allows."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Never, Protocol
from urllib.parse import unquote, urlsplit

from modelward.errors import FieldViolation, InvalidField, ModelNotAllowed, SourceNotAllowed
from modelward.lifecycle import ArtifactFile
from modelward_server import identity
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.locations import MLFLOW_SCHEMES, Location, model_of


class RemoteFiles(Protocol):
    """Reads what is not a local file, as MLflow's artifact repositories do."""

    def locate(self, uri: str) -> tuple[str, Sequence[str]]:
        """Return a URI of MLflow's own with a number in place of an alias, and every place that it leads to."""

    def download(self, uri: str, to: Path) -> Path:
        """Fetch a URI into a folder and return where it lies."""


class Sources:
    """Opens URIs that lie in one of the allowed places.

    Args:
        allowed: URIs of places, as `file:///srv/models/` or `s3://bucket/models`; a scheme, as `runs:/`, is all of it.
        remote: reads what is not a local file.
        blobs: what was uploaded.
        own_artifacts: the folder in which this server's own MLflow keeps artifacts, if it does.

    Raises:
        ValueError: a place is no URI.
    """

    def __init__(
        self, allowed: Sequence[str], remote: RemoteFiles, blobs: BlobStore, own_artifacts: Path | None = None
    ) -> None:
        self._allowed = [Location.parse(uri) for uri in allowed]
        folders = [Path("/", *place.parts) for place in self._allowed if place.scheme == "file"]
        self._folders = [folder.resolve() for folder in folders]
        self._own = [own_artifacts.resolve()] if own_artifacts else []
        self._remote = remote
        self._blobs = blobs

    def blob(self, sha256: str, field: str) -> Path:
        """Return where a content lies that was uploaded.

        Raises:
            InvalidField: it was not, or not to its end.
            DigestMismatch: it is short or changed by now.
        """
        if not self._blobs.path(sha256).is_file():
            raise InvalidField(FieldViolation(field, f"no content {sha256} is here; upload it first (UploadBlobs)"))
        return self._blobs.verified(sha256)

    @contextmanager
    def reachable(self, uri: str, field: str) -> Iterator[str]:
        """Give where files can be read in parts for the time of the block: a local path, or the URI of a store.

        Raises:
            as `fetched`.
        """
        if self._checked(uri).scheme not in {"file", *_schemes()}:
            yield uri
            return
        with self.fetched(uri, field) as path:
            yield str(path)

    @contextmanager
    def fetched(self, uri: str, field: str) -> Iterator[Path]:
        """Give the file or folder that a URI points to, as a local path for the time of the block.

        Raises:
            SourceNotAllowed: it does not lie in an allowed place, also when links or MLflow lead out of one.
            ModelNotAllowed: the caller is limited to some models, and these are not the files of one of them.
            InvalidField: nothing can be read there.
        """
        place = self._checked(uri)
        if place.scheme == "file":
            yield _existing(self._local(Path("/", *place.parts), uri, self._folders), uri, field)
            return
        if place.scheme in _schemes():
            uri = self._located(uri)
        with tempfile.TemporaryDirectory() as folder:
            yield self._remote.download(uri, Path(folder))

    def copy_artifact(self, uri: str, blobs: BlobStore) -> list[ArtifactFile]:
        """Store the files at a URI as blobs and describe them.

        Raises:
            as `fetched`.
            InvalidField: a file is a link that leads out of the folder, or nowhere.
        """
        with self.fetched(uri, "source_uri") as root:
            files = _files(root)
            if not files:
                raise InvalidField(FieldViolation("source_uri", f"there is no file in {uri!r}"))
            base = root.parent if root.is_file() else root
            _check_inside(files, base)
            return [blobs.put_file(file, file.relative_to(base).as_posix()) for file in files]

    def _checked(self, uri: str) -> Location:
        """Take a URI apart that the caller and the operator's list allow."""
        who = identity.current.get()
        if who and who.models and not ((model := model_of(uri)) and who.may_reach(model)):
            raise ModelNotAllowed(f"{uri!r} is no place of a model of {who.name}", models=",".join(who.models))
        try:
            place = Location.parse(uri)
        except ValueError as error:
            _refuse(uri, str(error))
        if not any(allowed.contains(place) for allowed in self._allowed):
            _refuse(uri, "is in no allowed place")
        return place

    def _located(self, uri: str) -> str:
        """Return what to download for a URI of MLflow's own, once all the places that it leads to are allowed."""
        fixed, places = self._remote.locate(uri)
        for place in places:
            scheme = urlsplit(place).scheme
            if scheme in {"", "file"}:
                path = Path(unquote(urlsplit(place).path) if scheme else place)
                local = self._local(path, uri, [*self._folders, *self._own])
                _check_inside(_files(local), local)
            elif not self._allows(place):
                _refuse(uri, f"leads to {place!r}, which is in no allowed place")
        return fixed

    def _allows(self, uri: str) -> bool:
        try:
            place = Location.parse(uri)
        except ValueError:
            return False
        own = place.scheme == "mlflow-artifacts"  # By the tracking server itself: the URI may name no other.
        return own or any(allowed.contains(place) for allowed in self._allowed)

    def _local(self, path: Path, uri: str, folders: Sequence[Path]) -> Path:
        """Return a path with all links followed, which lies in one of the folders."""
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links in a circle.
            _refuse(uri, f"cannot be followed: {error}")
        if not any(real.is_relative_to(folder) for folder in folders):
            _refuse(uri, "leads to a local path outside the allowed places")
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
    found = sorted(root.rglob("*"))
    broken = [path for path in found if path.is_symlink() and not path.exists()]
    if broken:
        raise InvalidField(FieldViolation("source_uri", f"{broken[0].name!r} is a link that leads nowhere"))
    return [path for path in found if path.is_file()]


def _check_inside(files: Sequence[Path], base: Path) -> None:
    outside = [file for file in files if not file.resolve().is_relative_to(base.resolve())]
    if outside:
        raise InvalidField(FieldViolation("source_uri", f"{outside[0].name!r} is a link that leads out of the folder"))


def _refuse(uri: str, why: str) -> Never:
    fix = "its operator allows places with MODELWARD_ALLOWED_SOURCES"
    raise SourceNotAllowed(f"the server may not read {uri!r}: it {why}; {fix}", uri=uri)

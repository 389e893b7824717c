"""Access to MLflow: imported lazily, its logging reduced, its failures translated. No module imports it at the top."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from modelward.errors import FieldViolation, InvalidField, StoreUnavailable
from modelward_server.libraries import load
from modelward_server.observability.redaction import redact
from modelward_server.runtime.temporary_folders import locked_folder, remove_leftovers
from modelward_server.storage.ledger import ALEMBIC_LOCK

MAX_HOPS = 5
"""Maximum number of MLflow URIs that refer to each other, such as a registered model's to a run's."""

ENDLESS = "its MLflow URIs refer to each other without an end"

_SEEN: set[str] = set()
"""URIs of local databases that existed before."""


_GLOBAL_URI_LOCK = Lock()


class MlflowConnection:
    """A connection to an MLflow server or database, which may be unavailable for a while."""

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri
        self._client: Any = None

    @property
    def client(self) -> Any:
        """The client, created on first use.

        Raises:
            StoreUnavailable: the file of its database is gone.
        """
        _check_there(self._uri)
        if self._client is None:
            self._client = connect(self._uri)
        return self._client


def connect(tracking_uri: str) -> Any:
    """Return a client of a tracking server or database, which is also used as the registry."""
    if _local_database(tracking_uri):  # A pooled connection would keep using a file that was replaced.
        os.environ.setdefault("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    with ALEMBIC_LOCK:  # The first calls create a database's tables.
        _create_local_database(tracking_uri)
        client = _opened(tracking_uri)
    _check_there(tracking_uri)
    return client


def _opened(tracking_uri: str) -> Any:
    client = load_mlflow().MlflowClient(tracking_uri, registry_uri=tracking_uri)
    client.search_experiments(max_results=1)
    client.search_registered_models(max_results=1)
    return client


def _create_local_database(tracking_uri: str) -> None:
    """Create a missing SQLite database, atomically.

    MLflow creates its tables in many steps, and cannot use a file that was left between two of them.
    """
    path = _local_database(tracking_uri)
    if path is None:
        return
    remove_leftovers(path.parent, f"{path.name}-")
    if path.exists():
        return
    with locked_folder(path.parent, f"{path.name}-") as folder:
        created = folder / path.name
        _opened(f"sqlite:///{created.resolve()}")
        with suppress(FileExistsError):  # Another server was faster, and may be using it already.
            path.hardlink_to(created)


def _check_there(tracking_uri: str) -> None:
    """Refuse a database whose file existed before and is gone: opening it would create an empty one in its place.

    Raises:
        StoreUnavailable: it is gone.
    """
    path = _local_database(tracking_uri)
    if path is None:
        return
    if path.exists():
        _SEEN.add(tracking_uri)
    elif tracking_uri in _SEEN:
        raise StoreUnavailable(f"MLflow: its database {path} is gone; put it back", store="mlflow")


def _local_database(tracking_uri: str) -> Path | None:
    return Path(make_url(tracking_uri).database or "") if tracking_uri.startswith("sqlite:") else None


class MlflowFiles:
    """Artifacts, resolved by one MLflow.

    Args:
        tracking_uri: URI of its tracking server or database.
    """

    def __init__(self, tracking_uri: str) -> None:
        self._uri = tracking_uri

    def download(self, uri: str, to: Path) -> Path:
        """Download a URI that MLflow can read, such as `runs:/...`, `models:/...` or `s3://...`; return the local path.

        Raises:
            InvalidField: nothing can be read there.
        """
        client = self._client()
        with _reading(uri):
            # MLflow itself resolves `models:/` by its global URI, which another connection may have set.
            place = _outside_the_registry(client, uri, MAX_HOPS)
            return Path(load_mlflow().artifacts.download_artifacts(place, dst_path=str(to), tracking_uri=self._uri))

    def locate(self, uri: str) -> tuple[str, Sequence[str]]:
        """Return the URI with a version number in place of an alias, and every location that it resolves to.

        Raises:
            InvalidField: it does not resolve.
        """
        client = self._client()
        with _reading(uri):
            fixed = _with_version(client, uri) if uri.startswith("models:") else uri
            return fixed, list(_places(client, fixed, MAX_HOPS))

    def _client(self) -> Any:
        _check_there(self._uri)
        return load_mlflow().MlflowClient(self._uri, registry_uri=self._uri)


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if getattr(error, "error_code", "") == "TEMPORARILY_UNAVAILABLE" or isinstance(error, SQLAlchemyError):
            raise StoreUnavailable(f"MLflow: {first_line(error)}", store="mlflow") from error
        # Each kind of store raises its own exceptions; all mean that the URI did not lead to files.
        fix = f"nothing can be read at {uri!r}: {first_line(error)}"
        raise InvalidField(FieldViolation("source_uri", fix)) from error


def _with_version(client: Any, uri: str) -> str:
    """Replace an alias or a stage, which may be moved at any moment, by the version's number."""
    from mlflow.store.artifact import models_artifact_repo

    repository: Any = models_artifact_repo.ModelsArtifactRepository
    base, path = repository.split_models_uri(uri)
    return _below(f"models:/{'/'.join(_name_and_version(client, base))}", path)


def _name_and_version(client: Any, base: str) -> tuple[str, ...]:
    """Return the registered model's name and the version's number, or the id of a logged model."""
    from mlflow.store.artifact.utils import models

    numbered: Any = models.get_model_name_and_version
    return tuple(map(str, numbered(client, base)))


def _places(client: Any, uri: str, hops: int) -> Iterator[str]:
    """Yield the URIs that an MLflow URI refers to, recursively."""
    scheme = urlsplit(uri).scheme
    if scheme not in {"models", "runs"}:
        yield uri
    elif not hops:
        raise ValueError(ENDLESS)
    else:
        places = _places_of_run(client, uri) if scheme == "runs" else [_place_of_model(client, uri)]
        for place in places:
            yield from _places(client, place, hops - 1)


def _outside_the_registry(client: Any, uri: str, hops: int) -> str:
    """Return what a URI `models:/...` refers to in the end; any other URI as it is."""
    if urlsplit(uri).scheme != "models":
        return uri
    if not hops:
        raise ValueError(ENDLESS)
    return _outside_the_registry(client, _place_of_model(client, uri), hops - 1)


def _place_of_model(client: Any, uri: str) -> str:
    from mlflow.store.artifact import models_artifact_repo

    repository: Any = models_artifact_repo.ModelsArtifactRepository
    base, path = repository.split_models_uri(uri)
    name, *version = _name_and_version(client, base)
    if version:
        return _below(client.get_model_version_download_uri(name, *version), path)
    return _below(client.get_logged_model(name).artifact_location, path)


def _places_of_run(client: Any, uri: str) -> Iterator[str]:
    """Yield the location of a run's artifacts, and those of the models that it logged under the name in the path."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact import runs_artifact_repo

    repository: Any = runs_artifact_repo.RunsArtifactRepository
    run_id, path = repository.parse_runs_uri(uri)
    run = client.get_run(run_id)
    yield _below(run.info.artifact_uri, path or "")
    if name := (path or "").partition("/")[0]:
        with suppress(MlflowException):  # An older server without logged models.
            logged = list(_logged_models(client, run.info.experiment_id, name))
            yield from [model.artifact_location for model in logged if model.source_run_id == run_id]


def _logged_models(client: Any, experiment: str, name: str) -> Iterator[Any]:
    token: str | None = None
    while token != "":
        page = client.search_logged_models([experiment], f"name = '{name}'", page_token=token)
        yield from page
        token = page.token or ""


def _below(uri: str, path: str) -> str:
    return f"{uri.rstrip('/')}/{path}" if path else uri


def load_mlflow() -> Any:
    """Import MLflow, which takes a second, and reduce its logging."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # The mirror retries by itself.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # Seconds; its 120 would delay a stop of the server.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    mlflow = load("mlflow")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # It logs the exceptions that it raises.
    return mlflow


@contextmanager
def global_uri(tracking_uri: str) -> Iterator[None]:
    """Set MLflow's global URI, and prevent other threads from setting another one within the block."""
    with _GLOBAL_URI_LOCK:
        load_mlflow().set_tracking_uri(tracking_uri)
        yield


@contextmanager
def answering() -> Iterator[None]:
    load_mlflow()
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise StoreUnavailable(f"MLflow: {first_line(error)}", store="mlflow") from error


def first_line(error: Exception) -> str:
    """Return the first line of an error, redacted: MLflow's errors name its URL, with the password in it."""
    return redact(str(error).partition("\n")[0])

"""The way to MLflow: imported late and kept quiet, its failures in one error. No other module imports it at its top."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from modelward.errors import FieldViolation, InvalidField, StoreUnavailable
from modelward_server.security.redaction import redact
from modelward_server.store.ledger import ALEMBIC_LOCK


def connect(tracking_uri: str) -> Any:
    """Return a client of a tracking server or database, which is also its registry."""
    with ALEMBIC_LOCK:  # The first calls make the tables of a database.
        _make_local_database(tracking_uri)
        return _opened(tracking_uri)


def _opened(tracking_uri: str) -> Any:
    client = load_mlflow().MlflowClient(tracking_uri, registry_uri=tracking_uri)
    client.search_experiments(max_results=1)
    client.search_registered_models(max_results=1)
    return client


def _make_local_database(tracking_uri: str) -> None:
    """Make a SQLite database that is not there yet, whole or not at all.

    MLflow makes its tables in many steps, and a file that was left between two of them serves it no more.
    """
    path = Path(make_url(tracking_uri).database or "") if tracking_uri.startswith("sqlite:") else None
    if path is None or path.exists():
        return
    with TemporaryDirectory(dir=path.parent, prefix=f"{path.name}-") as folder:
        made = Path(folder, path.name)
        _opened(f"sqlite:///{made.resolve()}")
        with suppress(FileExistsError):  # Another server was faster, and may have used it already.
            path.hardlink_to(made)


def download_artifacts(tracking_uri: str, uri: str, to: Path) -> Path:
    """Fetch what MLflow can read, such as `runs:/...`, `models:/...` or `s3://...`, and return where it lies.

    Raises:
        InvalidField: nothing can be read there.
    """
    mlflow = load_mlflow()
    mlflow.set_tracking_uri(tracking_uri)  # `models:/` is looked up there, whatever the argument below says.
    artifacts = mlflow.artifacts
    try:
        return Path(artifacts.download_artifacts(uri, dst_path=str(to), tracking_uri=tracking_uri))
    except Exception as error:
        # Each kind of store raises its own errors; what they share is that the URI did not lead to files.
        fix = f"nothing can be read at {uri!r}: {first_line(error)}"
        raise InvalidField(FieldViolation("source_uri", fix)) from error


def load_mlflow() -> Any:
    """Import MLflow, which takes a second, and keep it quiet."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # The worker tries again by itself.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # Seconds; its 120 would hold up a stop of the server.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


@contextmanager
def answering() -> Iterator[None]:
    load_mlflow()
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise StoreUnavailable(f"MLflow: {first_line(error)}", store="mlflow") from error


def first_line(error: Exception) -> str:
    """Return what an error says first; MLflow's own name its URL, with the password in it."""
    return redact(str(error).partition("\n")[0])

"""A tracking server that several files of tests share."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from tests.support.ports import free_port
from tests.support.waiting import eventually


@pytest.fixture(scope="session")
def tracking_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server."""
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    jobs_off = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # Six processes that nobody needs.
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", **jobs_off}
    with subprocess.Popen([*command, *stores], env=environment, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            eventually(lambda: _answers(f"{url}/health"))
            yield url
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=10).close()
    except OSError:
        return False
    return True

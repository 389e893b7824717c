"""MLflow's tables ready made: it takes a second of a core to make them, and most servers of the tests need some."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from modelward_server.mlflow.client import connect


def write_mlflow_tables(path: Path) -> None:
    """Write an empty database of MLflow's, unless there is one."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(_empty_database())


@cache
def _empty_database() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, "mlflow.db")
        connect(f"sqlite:///{path}")
        return path.read_bytes()

"""The same server, forked from a process that has imported everything: a start takes tenths of a second, not seconds.

That `modelward serve` starts by itself is shown by `tests/system/test_serve.py`, which uses `ServerProcess`.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import sklearn.ensemble  # noqa: F401 - the server imports these at their first use
import statsmodels.api  # noqa: F401

from modelward.cli import main
from modelward_server import app  # noqa: F401
from modelward_server.cli import serve  # noqa: F401
from modelward_server.mlflow.client import load_mlflow
from tests.support.mlflow_tables import write_mlflow_tables
from tests.support.server_process import ReadyServer, bare_environment
from tests.support.waiting import PATIENCE_SECONDS

forked = multiprocessing.get_context("forkserver")
forked.set_forkserver_preload([__name__])
load_mlflow()


def nothing() -> None:
    """Change nothing of the server."""


class ForkedServer(ReadyServer):
    """One `modelward serve` on a free port, told by flags and environment.

    Args:
        prepare: is called in the process before the command; a function of a module.
    """

    has_mlflow_tables: ClassVar[bool] = True
    """Whether MLflow's tables are there before it starts, which saves another second."""

    def __init__(
        self,
        data_dir: Path,
        log: Path,
        *flags: str,
        env: Mapping[str, str] | None = None,
        prepare: Callable[[], None] = nothing,
    ) -> None:
        self.data_dir = data_dir
        command = ["modelward", "serve", "--port", "0", "--data-dir", str(data_dir), *flags]
        environment = bare_environment() | dict(env or {})
        self.process = forked.Process(target=_serve, args=[command, log, environment, prepare], daemon=True)
        if self.has_mlflow_tables:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_mlflow_tables(data_dir / "mlflow.db")
        log.touch()
        self.process.start()
        try:
            super().__init__(log, self.process.is_alive)
        except BaseException:
            self.kill()  # Whoever asked for it has nothing to end it by.
            raise

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def tell_to_stop(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its end, and return its exit code."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"it runs after {seconds:g} s"
        return self.process.exitcode

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self.tell_to_stop()
        return self.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.wait()


def _serve(command: list[str], log: Path, environment: dict[str, str], prepare: Callable[[], None]) -> None:
    for output in (sys.stdout, sys.stderr):
        with log.open("ab") as sink:
            os.dup2(sink.fileno(), output.fileno())
    os.environ.clear()
    os.environ.update(environment)
    prepare()
    sys.argv = command
    main()

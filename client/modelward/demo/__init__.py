"""The demo: a real server, real market data, and a scenario reported step by step."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PICTURE = "modelward-demo-drift.png"
CONSOLE_PORT = 50062
"""The port of the console of the server that is started again."""


def run(keep: Path | None) -> int:
    """Run the demo scenario and print it to the console.

    Args:
        keep: an empty or new folder in which the server's data and the chart are kept; None keeps only the chart, in
            the current folder.

    Returns:
        the exit code: 0, or 1 when the folder is not empty or the server fails.
    """
    from rich.console import Console

    from modelward.demo.server import ServerFailedError

    console = Console(highlight=False)
    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        console.print(f"[red]{keep} is not empty; give a new folder.")
        return 1
    try:
        _run(console, keep)
    except ServerFailedError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    return 0


def _run(console: "Console", keep: Path | None) -> None:
    from modelward import Client
    from modelward.demo.output import DemoOutput
    from modelward.demo.scenario import run_scenario
    from modelward.demo.server import running_server

    output = DemoOutput(console)
    began = time.monotonic()
    with _exit_on_sigterm(), _folder(keep) as data_dir, running_server(data_dir) as server:
        output.say(
            f"A Modelward server is running on {server.target}, {time.monotonic() - began:.1f} s after its start."
        )
        output.say(f"Its console, at {server.console}, shows in a browser what happens.")
        with Client(server.target, actor="quant") as quant, Client(server.target, actor="risk") as risk:
            run_scenario(output, quant, risk, (keep or Path()) / PICTURE)
    output.say(f"The server has stopped. Total time: {time.monotonic() - began:.0f} s.")
    if keep is not None:
        output.chapter("Next steps")
        output.console.print(_next_steps(keep), soft_wrap=True, markup=False)


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does, so that neither its server nor its folder is left behind."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        yield keep
        return
    with TemporaryDirectory(prefix="modelward-demo-") as folder:
        yield Path(folder)


def _next_steps(keep: Path) -> str:
    ask = """'{"model": "spx-direction"}' localhost:50061 modelward.v1.LifecycleService/ResolveModel"""
    return f"""\
              Start it again:        modelward serve --data-dir {keep} --console-port {CONSOLE_PORT}
              Then query it:         modelward versions spx-direction
                          modelward history spx-direction
                          modelward reports spx-direction
                          modelward due
              or, with grpcurl:      grpcurl -plaintext -d {ask}
              Open it in MLflow:     mlflow ui --backend-store-uri sqlite:///{keep.resolve() / "mlflow.db"}
              View the drift chart:  {keep / PICTURE}
              Open its console:      http://127.0.0.1:{CONSOLE_PORT}/models/spx-direction
           """

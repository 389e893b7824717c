"""The demo: a real server, real market data, and a story that is told as it happens."""

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


def run(keep: Path | None) -> int:
    """Tell the demo's story on the console.

    Args:
        keep: an empty or new folder in which the server's data and the picture stay; None leaves nothing but the
            picture, in the current folder.

    Returns:
        the exit code: 0, or 1 when the folder is not empty or the server fails.
    """
    from rich.console import Console

    from modelward.demo.server import ServerFailedError

    console = Console(highlight=False)
    if keep is not None and keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        console.print(f"[red]{keep} is not empty; name a new folder.")
        return 1
    try:
        _tell(console, keep)
    except ServerFailedError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    return 0


def _tell(console: "Console", keep: Path | None) -> None:
    from modelward import Client
    from modelward.demo.output import Narrator
    from modelward.demo.scenario import tell
    from modelward.demo.server import running_server

    narrator = Narrator(console)
    began = time.monotonic()
    with _ending_in_order(), _folder(keep) as data_dir, running_server(data_dir) as target:
        narrator.say(f"A Modelward server runs on {target}, {time.monotonic() - began:.1f} s after it was started.")
        with Client(target, actor="quant") as quant, Client(target, actor="risk") as risk:
            tell(narrator, quant, risk, (keep or Path()) / PICTURE)
    narrator.say(f"The server has stopped. All of it took {time.monotonic() - began:.0f} s.")
    if keep is not None:
        narrator.chapter("Where to look next")
        narrator.console.print(_next_steps(keep), soft_wrap=True, markup=False)


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let SIGTERM end the demo as Ctrl-C does, so that neither its server nor its folder outlives it."""
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
   Serve it again:        modelward serve --data-dir {keep}
   and meanwhile ask:     modelward versions spx-direction
                          modelward history spx-direction
                          modelward reports spx-direction
                          modelward due
   or, with grpcurl:      grpcurl -plaintext -d {ask}
   See it in MLflow:      mlflow ui --backend-store-uri sqlite:///{keep.resolve() / "mlflow.db"}
   See the drift:         {keep / PICTURE}"""

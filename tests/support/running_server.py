"""A server in this process."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from modelward_server.app import App
from modelward_server.settings import Settings
from tests.support.mlflow_tables import write_mlflow_tables


class RunningServer:
    """A server in a thread of its own, as it is in production but for the process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.app = App(settings)
        if not settings.mlflow_uri:
            write_mlflow_tables(settings.data_dir / "mlflow.db")
        self._started: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self.target = f"127.0.0.1:{self._started.result()}"

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            self._started.set_result(await self.app.start())
        except BaseException as error:
            self._started.set_exception(error)
            raise
        await self._stopping.wait()
        await self.app.stop()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()


@contextmanager
def servers_in(data_dir: Path) -> Iterator[Callable[..., RunningServer]]:
    """Give a function that starts a server with settings; all that it started stop with the block."""
    with ExitStack() as stack:

        def start(**settings: Any) -> RunningServer:
            running = RunningServer(Settings(port=0, data_dir=data_dir, **settings))
            stack.callback(running.stop)
            return running

        yield start

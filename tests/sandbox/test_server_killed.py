"""A server that is killed leaves no model's process behind, at each level of confinement."""

import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from modelward import Client
from tests.support.forked_server import ForkedServer
from tests.support.sandbox_attacks import write
from tests.support.waiting import PATIENCE_SECONDS, eventually

NO_BUBBLEWRAP = {"PATH": str(Path(sys.executable).parent)}


@pytest.mark.system
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("env", [{}, NO_BUBBLEWRAP], ids=["bubblewrap", "landlock"])
def test_no_process_stays_when_the_server_is_killed(env: dict[str, str], tmp_path: Path) -> None:
    served = ForkedServer(tmp_path / "data", tmp_path / "log", env={"MODELWARD_ALLOW_PICKLE": "true", **env})
    with Client(served.target) as client:
        client.register("spx", write(tmp_path / "spx", "import time\nwhile True: time.sleep(1)"))
        asking = threading.Thread(target=_benchmark, args=(client,))
        asking.start()
        eventually(lambda: len(_forked(served.pid)) >= 3)  # The fork server, who watches, and the model.
        started = set(_descendants(served.pid))
        served.kill()
        eventually(lambda: not any(Path(f"/proc/{process}").exists() for process in started))
    asking.join()


def _benchmark(client: Client) -> None:
    with suppress(Exception):  # The server goes away, and the client is closed.
        client.benchmark(["spx/1"], {"x": [1.0]}, timeout=PATIENCE_SECONDS)


def _forked(parent: int) -> list[list[bytes]]:
    """Return the commands of the processes that a fork server forked, and its own."""
    commands = map(_words, _descendants(parent))
    fork_servers = (words for words in commands if b"modelward_server.sandbox.fork_server" in words)
    return [words for words in fork_servers if not words[0].endswith(b"bwrap")]


def _words(process: int) -> list[bytes]:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []  # It has ended since.


def _descendants(parent: int) -> Iterator[int]:
    for children in Path(f"/proc/{parent}/task").glob("*/children"):
        try:
            below = children.read_text().split()
        except OSError:
            continue  # It has ended since.
        for child in map(int, below):
            yield child
            yield from _descendants(child)

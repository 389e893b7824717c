"""Somebody who types what the documentation shows, in one folder, at one server."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.security.test_tls import issue
from tests.support.documents import Block, Command
from tests.support.waiting import PATIENCE_SECONDS

TARGET = "localhost:50061"
"""Where the server listens by the documentation."""
ENDLESS = {"modelward serve": "listens on", "modelward worker": "waits for jobs"}
"""Commands that run until they are stopped, and what they print when they are ready."""
IDS = r"[0-9a-f]{8}(?:-[0-9a-f]{4,12}){4}|[0-9a-f]{12,}"
CHANGING = re.compile(rf"\d{{4}}-\d\d-\d\d[T ][\d:.]+Z?|\d\d:\d\d:\d\d|\d+\.\d+ (?:s|ms|MB)\b|{IDS}|\.\.\.|─")
"""What is not the same each time: times, durations, sizes, ids, digests; and what was shortened."""


class DocumentRunner:
    """Runs commands and programs, each as it is printed but for the server's address.

    Args:
        folder: where everything is run.
        target: the server that stands for the one that the documentation speaks of.
    """

    def __init__(self, folder: Path, target: str) -> None:
        self._folder, self._target = folder, target
        self._stopping: dict[Command, subprocess.Popen[bytes]] = {}
        self._env = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MODELWARD_SERVER": target,
            "COLUMNS": "120",
        }

    def close(self) -> None:
        """Wait until what was stopped has ended, and fail unless it ended well."""
        ends = {command: running.wait(PATIENCE_SECONDS) for command, running in self._stopping.items()}
        assert not any(ends.values()), ends

    def run(self, command: Command) -> None:
        """Run a command to its end, or until it is ready; fail unless it ends and answers as shown."""
        if ready := self._ready(command.typed):
            with self.started(command, command.shown + ready):
                return
        said = self.said(command.typed, fails=command.shown.startswith("ERROR"))
        assert not (missing := self.missing(command.shown, said)), f"{missing} is not in:\n{said}"

    def said(self, typed: str, *, fails: bool = False) -> str:
        """Run a command, fail unless its status is as it should be, and return what it says."""
        line = ["bash", "-e", "-o", "pipefail", "-c", self._local(typed)]
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, cwd=self._folder, env=self._env
        )
        said = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, said
        return said

    def program(self, blocks: list[Block]) -> str:
        """Run a document's Python blocks as one program, and return what it prints."""
        source = ""
        for block in blocks:  # Each on its own lines, so that a traceback names the document's.
            source += "\n" * (block.line - 1 - source.count("\n")) + block.text
        file = self._folder / blocks[0].document.replace("/", "-")
        file.write_text(self._local(source))
        command = [sys.executable, "-W", "error", file.name]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            cwd=self._folder,
            env=self._env,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def write(self, block: Block) -> None:
        """Write a Python block to the file that it says it is."""
        assert block.file
        file = self._folder / block.file
        file.parent.mkdir(exist_ok=True)
        file.write_text(block.text)

    def missing(self, shown: str, said: str) -> list[str]:
        """Return the words of what is shown that were not said, but for what changes each time."""
        compact = "".join(said.split())
        words = CHANGING.sub(" ", self._local(shown)).split()
        return [word for word in words if word not in compact]

    def _local(self, text: str) -> str:
        return text.replace(TARGET, self._target)

    def _ready(self, typed: str) -> str | None:
        return next((ready for start, ready in ENDLESS.items() if typed.strip().startswith(start)), None)

    @contextmanager
    def started(self, command: Command, ready: str) -> Iterator[str]:
        """Start a command, give what it has said when it is ready, and tell it to stop; `close` sees how it ends."""
        log = self._folder / f"{len(self._stopping)}.log"
        with log.open("w") as sink:
            line = ["bash", "-c", f"exec {self._at_home(command.typed)}"]
            running = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, cwd=self._folder, env=self._env
            )
        self._stopping[command] = running
        try:
            self._wait(running, log, ready)
            yield log.read_text()
            running.send_signal(signal.SIGTERM)
        except BaseException:
            running.kill()
            running.wait()
            raise

    def _at_home(self, typed: str) -> str:
        """Let a server listen where a test may: on this machine alone, on a port that is free."""
        if not typed.strip().startswith("modelward serve"):
            return typed.strip()
        without = re.sub(r"--(host|port|metrics-port)[ =]\S+", "", typed.partition("#")[0]).strip()
        return f"{without} --port 0"

    def _wait(self, running: "subprocess.Popen[bytes]", log: Path, shown: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while missing := self.missing(shown, log.read_text()):
            assert running.poll() is None, log.read_text()
            assert time.monotonic() < deadline, f"{missing} is not in:\n{log.read_text()}"
            time.sleep(0.05)


def issue_certificates(folder: Path) -> None:
    """Write the files that a server with TLS is told of, and those of its clients."""
    issue(folder)
    for name in ("ca.pem", "clients.pem"):
        shutil.copy(folder / "cert.pem", folder / name)
    (folder / "cert.pem").rename(folder / "server.pem")
    (folder / "key.pem").rename(folder / "server.key")

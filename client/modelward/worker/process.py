"""Work in a process of its own: a Python callable or any command."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress

from modelward._training_table import LOG_BYTES
from modelward.retraining import Job
from modelward.worker.child import ACTOR, SERVER
from modelward.worker.running import job_to_json

TERMINATION_SECONDS = 5.0
"""How long a process may tidy up when it is told to end."""
TOLD_CHARACTERS = 2000
"""How much of what a process printed is told as the reason of its failure."""


def python_command(target: str) -> list[str]:
    """Return the command that calls `module:function`."""
    return [sys.executable, "-m", "modelward.worker", target]


def wrong_with(target: str) -> str:
    """Return why `module:function` cannot be called, as its process would find out; empty when it can."""
    command = [*python_command(target), "--check"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return said[-1] if done.returncode else ""


class ProcessRun:
    """A job that a process works on.

    The process finds the job as JSON on its standard input, and in its environment who it is: MODELWARD_SERVER,
    MODELWARD_ACTOR, MODELWARD_JOB_ID, MODELWARD_JOB_FENCE and MODELWARD_JOB_MODEL.
    """

    def __init__(self, command: Sequence[str], job: Job, server: str, actor: str) -> None:
        told = {
            SERVER: server,
            ACTOR: actor,
            "MODELWARD_JOB_ID": job.job_id,
            "MODELWARD_JOB_FENCE": str(job.fence),
            "MODELWARD_JOB_MODEL": job.model,
            "PYTHONUNBUFFERED": "1",  # A log must not lose its end with the process.
        }
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process may print
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=os.environ | told,
            start_new_session=True,  # All that it starts ends with it, and Ctrl-C is the worker's to handle.
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as stdin:  # A command need not read.
            stdin.write(job_to_json(job).encode())

    def finished(self, seconds: float) -> bool:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.poll() is not None

    def failure(self) -> str:
        code = self._process.poll()
        if code == 0:
            return ""
        how = f"exit code {code}" if code is None or code > 0 else f"ended by signal {-code}"
        end = self.log().strip()[-TOLD_CHARACTERS:]
        return f"{how}: {end}" if end else how

    def log(self) -> str:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - LOG_BYTES))
        return self._log.read().decode(errors="replace").replace("\0", "")

    def stop(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            if self.finished(TERMINATION_SECONDS):
                break
        self._log.close()

"""Run jobs in a separate process: a Python callable or any command."""

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
"""How long a process may take to exit after SIGTERM."""
MAX_REASON_CHARACTERS = 2000
"""Maximum length of a process's output in the reason of its failure, in characters."""


def python_command(target: str) -> list[str]:
    """Return the command that calls `module:function`."""
    return [sys.executable, "-m", "modelward.worker", target]


def callable_error(target: str) -> str:
    """Return why `module:function` cannot be called, as determined in its own process; empty when it can."""
    command = [*python_command(target), "--check"]
    completed = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    lines = completed.stderr.strip().splitlines() or [f"exit code {completed.returncode}"]
    return lines[-1] if completed.returncode else ""


class ProcessRun:
    """A job that runs in a process.

    The process receives the job as JSON on its standard input, and in its environment its connection and identity:
    MODELWARD_SERVER, MODELWARD_ACTOR, MODELWARD_JOB_ID, MODELWARD_JOB_FENCE and MODELWARD_JOB_MODEL.

    Args:
        command: the program and its arguments.
        job: the job, as leased.
        server: the address that the process may call, as `host:port`.
        actor: the actor of its calls in the audit log.
    """

    def __init__(self, command: Sequence[str], job: Job, server: str, actor: str) -> None:
        environment = {
            SERVER: server,
            ACTOR: actor,
            "MODELWARD_JOB_ID": job.job_id,
            "MODELWARD_JOB_FENCE": str(job.fence),
            "MODELWARD_JOB_MODEL": job.model,
            "PYTHONUNBUFFERED": "1",  # Otherwise the end of the log could be lost with the process.
        }
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process may print
        with tempfile.TemporaryFile() as stdin:  # A file and no pipe: a command need not read its input.
            stdin.write(job_to_json(job).encode())
            stdin.seek(0)
            self._process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                env=os.environ | environment,
                start_new_session=True,  # Its child processes end with it, and Ctrl-C is handled by the worker.
            )

    def finished(self, seconds: float) -> bool:
        """Wait for the process.

        Args:
            seconds: how long to wait at most.

        Returns:
            Whether it has ended.
        """
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.poll() is not None

    def failure(self) -> str:
        """Return why the process failed.

        Returns:
            The reason in words; empty when it succeeded.
        """
        code = self._process.poll()
        if code == 0:
            return ""
        how = f"exit code {code}" if code is None or code > 0 else f"ended by signal {-code}"
        end = self.log().strip()[-MAX_REASON_CHARACTERS:]
        return f"{how}: {end}" if end else how

    def log(self) -> str:
        """Return the output of the process.

        Returns:
            Its output, or only the end of it.
        """
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - LOG_BYTES))
        return self._log.read().decode(errors="replace").replace("\0", "")

    def stop(self) -> None:
        """End the process unconditionally, with all that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            if self.finished(TERMINATION_SECONDS):
                break
        self._log.close()

"""One of several server processes: `python -m modelward_server.replica_process`, started by the supervisor."""

import os
import signal
import sys
import threading

import click

from modelward_server.app import serve
from modelward_server.cli.serve import run_server
from modelward_server.replica_supervisor import READY
from modelward_server.settings import Settings


def main() -> None:
    """Serve with the settings that arrive as a line of JSON, until stopped or until the supervisor ends."""
    supervisor = os.dup(1)
    os.dup2(2, 1)  # Everything printed from here on belongs to the log.
    settings = Settings.model_validate_json(_line())
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    try:
        run_server(serve(settings, lambda _port: _report_ready(supervisor), shares_port=True), settings)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)


def _report_ready(supervisor: int) -> None:
    os.write(supervisor, READY)
    os.close(supervisor)


def _line() -> bytes:
    """Read a line unbuffered: a thread that waits inside a buffered read would delay the end of the process."""
    read = b""
    while not read.endswith(b"\n"):
        more = os.read(0, 1 << 16)
        if not more:
            sys.exit("the supervisor has ended")
        read += more
    return read


def _end_with_supervisor() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()

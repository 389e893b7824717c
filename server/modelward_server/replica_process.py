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
    """Serve with the settings that come as a line of JSON, until told to stop or the supervisor is gone."""
    told = os.dup(1)
    os.dup2(2, 1)  # Whatever is printed from here on belongs to the log.
    settings = Settings.model_validate_json(_line())
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    try:
        run_server(serve(settings, lambda _port: _tell(told), shares_port=True), settings)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)


def _tell(told: int) -> None:
    os.write(told, READY)
    os.close(told)


def _line() -> bytes:
    """Read a line without a buffer: a thread that waits for more in one would hold up the end of the process."""
    read = b""
    while not read.endswith(b"\n"):
        more = os.read(0, 1 << 16)
        if not more:
            sys.exit("the supervisor is gone")
        read += more
    return read


def _end_with_supervisor() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()

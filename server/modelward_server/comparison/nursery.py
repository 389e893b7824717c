"""The process that models' processes are forked from: `python -m modelward_server.comparison.nursery RUNTIME`.

Importing what runs a model takes seconds, far longer than most models run. So it is imported once, here, where no model
is ever loaded; each model then gets a copy of this process for itself. The server asks over a socket that is this
process's standard input, and sends with each request one end of another socket, over which the model's process answers.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Never

PROGRAMS = {"work": "modelward_server.comparison.worker", "time": "modelward_server.comparison.timer"}
RUNTIMES = {"skops": ("skops.io", "pandas"), "onnx": ("onnxruntime",), "pickle": ()}
"""What the models of a format need."""
REQUEST_BYTES = 1 << 16


def main() -> None:
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # What is forked must not hold the socket when this process is gone.
    for module in (*PROGRAMS.values(), *RUNTIMES[sys.argv[1]]):
        importlib.import_module(module)
    gc.freeze()  # Or the first collection would copy every page that the processes share.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody asks how a keeper ended.
    while True:
        request, connections, _, _ = socket.recv_fds(control, REQUEST_BYTES, 1)
        if not request:
            return  # The server is gone.
        if os.fork() == 0:
            control.close()
            _keep(connections[0], **json.loads(request))
        os.close(connections[0])


def _keep(connection: int, program: str, folder: str) -> Never:
    """Start a model's process, wait for its end, and tell the server of that."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        _become(connection, program, Path(folder))
    _, status = os.waitpid(child, 0)
    with suppress(OSError), socket.socket(fileno=connection) as told:  # Whoever asked may be gone.
        told.sendall(b"\n" + json.dumps({"ended": os.waitstatus_to_exitcode(status)}).encode() + b"\n")
        told.shutdown(socket.SHUT_WR)
        while told.recv(REQUEST_BYTES):
            pass  # What the process was still asked; closed before it is read, the socket would lose what it told.
    os._exit(0)


def _become(connection: int, program: str, folder: Path) -> Never:
    """Be the process of a model, with the connection as its standard input."""
    code = 1
    try:
        os.setsid()
        os.dup2(connection, 0)
        os.close(connection)
        os.chdir(folder)
        answers = os.fdopen(os.dup(0), "w")
        print(json.dumps({"pid": os.getpid()}), file=answers, flush=True)
        importlib.import_module(PROGRAMS[program]).main(folder, answers)
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()

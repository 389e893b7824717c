"""The process that model processes are forked from: `python -m modelward_server.sandbox.fork_server FORMAT READABLE`.

Importing a model's runtime takes seconds, far longer than most models run. So it is imported once, here, where no model
is ever loaded; each model then gets a fork of this process, which confines itself before it loads the model. The server
sends requests over a socket that is this process's standard input, and with each request the ends of two other sockets:
over one, a supervisor process reports on the model's process, and kills it when the server closes the socket or dies;
over the other, the model's process answers.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any, BinaryIO, Never

from modelward.formats import formats
from modelward_server.sandbox.confinement import Budget, confine

PROGRAMS = {
    "work": "modelward_server.sandbox.model_process",
    "time": "modelward_server.sandbox.latency_benchmark",
    "try": "modelward_server.sandbox.trial_process",
    "score": "modelward_server.sandbox.scoring_process",
}
ANSWERS_CALLS = "score"
"""The program whose results calls wait for; the others run at a lower priority."""
LOWER_PRIORITY = 5
"""Nice value of the others: they get a third of the time of a process that answers calls, where both want all of it."""
REQUEST_BYTES = 1 << 16
MAX_DESCRIPTORS = 1 << 16
HUNG_UP = select.POLLHUP | getattr(select, "POLLRDHUP", 0)


def main() -> None:
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # Forked processes must not hold the socket when this one has ended.
    for module in (*PROGRAMS.values(), *formats()[sys.argv[1]].modules):
        importlib.import_module(module)
    readable = [Path(path) for path in json.loads(sys.argv[2])]
    gc.freeze()  # Otherwise the first collection would copy every page that the processes share.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # The exit status of a supervisor is not used.
    while True:
        request, ends, _, _ = socket.recv_fds(control, REQUEST_BYTES, 2)
        if not request:
            return  # The server has ended.
        if os.fork() == 0:
            control.close()
            watch, conversation = ends
            _supervise(watch, conversation, readable, **json.loads(request))
        for end in ends:
            os.close(end)


def _supervise(watch: int, conversation: int, readable: Sequence[Path], program: str, folder: str) -> Never:
    """Start a model's process, kill it when the server closes the connection, and report its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        _become_model(conversation, program, Path(folder), readable)
    os.close(conversation)
    with socket.socket(fileno=watch) as server:
        _report(server, {"begun": True})
        _report(server, {"ended": os.waitstatus_to_exitcode(_wait(child, watch))})
    os._exit(0)


def _report(server: socket.socket, event: Mapping[str, object]) -> None:
    with suppress(OSError):  # The server may have closed the connection.
        server.sendall(json.dumps(event).encode() + b"\n")


def _wait(child: int, watch: int) -> int:
    """Wait for the end of a process, and kill it when the other end of the socket is closed."""
    ended = os.pidfd_open(child)
    waiting = select.poll()
    waiting.register(ended, select.POLLIN)
    waiting.register(watch, HUNG_UP)
    if all(descriptor != ended for descriptor, _ in waiting.poll()):
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _become_model(conversation: int, program: str, folder: Path, readable: Sequence[Path]) -> Never:
    """Run as the process of a model, with the conversation as its standard input and no other inherited descriptor."""
    code = 1
    try:
        os.setsid()
        os.dup2(conversation, 0)
        os.closerange(3, MAX_DESCRIPTORS)
        with os.fdopen(os.dup(0), "wb") as answers:
            _run(program, folder, readable, answers)
        code = 0
    finally:
        os._exit(code)


def _run(program: str, folder: Path, readable: Sequence[Path], answers: BinaryIO) -> None:
    if program != ANSWERS_CALLS:
        _lower_priority()
    os.chdir(folder)
    job = json.loads((folder / "job.json").read_text())
    try:
        confine(_budget(job, folder), [*readable, folder], job["user"])
    except OSError as error:
        answers.write(json.dumps({"failure": f"could not be confined: {error}"}).encode() + b"\n")
        return
    importlib.import_module(PROGRAMS[program]).main(job, folder, answers)


def _lower_priority() -> None:
    """Let trials, comparisons and replays delay neither the server nor the processes that answer calls."""
    os.nice(LOWER_PRIORITY)
    # Where the kernel groups processes by session, a nice value counts within the session only; this is the group's.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(LOWER_PRIORITY))


def _budget(job: Mapping[str, Any], folder: Path) -> Budget:
    mapped = sum(file.stat().st_size for file in folder.iterdir())
    return Budget(job["memory_mb"] << 20, mapped, ceil(job["cpu_seconds"]))


if __name__ == "__main__":
    main()

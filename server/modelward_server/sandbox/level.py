"""How far models can be confined on this machine: tried once, by confining a process."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from modelward_server.sandbox.confinement import Layers
from modelward_server.sandbox.scratch import next_user, scratch
from modelward_server.sandbox.visible import python_path, readable

log = logging.getLogger(__name__)

PROBE_SECONDS = 20
KEPT_CAPABILITIES = ("CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_DAC_READ_SEARCH")
"""What a fork server of root keeps inside bubblewrap: enough to give each model a user, and to end it."""
KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""What a model may know of the server's environment, which may hold passwords."""
MODEL_ENVIRONMENT = {
    # Latencies compare when each model has one core; and a thread of BLAS takes memory for itself.
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # Arrow's own allocators set aside a gigabyte at a time, which would count against the memory limit.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "HOME": "/",
}


@dataclass(frozen=True)
class Level:
    """What holds a model's process, beside the limits of resources, which always do."""

    bubblewrap: bool
    layers: Layers

    @property
    def parts(self) -> dict[str, bool]:
        """Return the name of each part, and whether it holds."""
        layers = self.layers
        optional = {"landlock": bool(layers.landlock), "seccomp": layers.seccomp, "own_user": layers.own_user}
        return {"bubblewrap": self.bubblewrap, **optional}

    def __str__(self) -> str:
        return ", ".join((*(name for name, holds in self.parts.items() if holds), "limits"))


@cache
def level() -> Level:
    """Return the best level that works here. The first call takes a moment."""
    tried = (found for wrapped, user in _candidates() if (found := _try(wrapped, user)))
    found = next(tried, Level(False, Layers(0, False, False)))
    hidden = found.bubblewrap or found.layers.landlock
    log.log(logging.INFO if hidden else logging.WARNING, "models are confined by: %s", found)
    return found


def _candidates() -> Iterator[tuple[bool, int | None]]:
    users = [next_user(), None] if may_switch_user() else [None]
    return ((wrapped, user) for wrapped in (True, False) for user in users if not wrapped or bubblewrap())


def _try(wrapped: bool, user: int | None) -> Level | None:
    """Confine a process that says what took hold; None when that does not work."""
    try:
        question = json.dumps({"readable": list(map(str, readable())), "user": user})
        done = subprocess.run(
            command("modelward_server.sandbox.probe", question, wrapped=wrapped),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            env=environment(),
            check=True,
        )
        return Level(wrapped, Layers(**json.loads(done.stdout)))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
        log.debug("models cannot be confined with bubblewrap %s and user %s: %s", wrapped, user, error)
        return None


def may_switch_user() -> bool:
    """Whether this process could give another a user of its own."""
    return os.geteuid() == 0


def bubblewrap() -> str | None:
    """Return where bubblewrap is installed."""
    return shutil.which("bwrap")


def command(module: str, *arguments: str, wrapped: bool) -> list[str]:
    """Return the command that runs a module of Python, inside bubblewrap or not."""
    inner = [sys.executable, "-P", "-m", module, *arguments]
    return [*_wrapping(), "--", *inner] if wrapped else inner


def _wrapping() -> Iterator[str]:
    """Yield bubblewrap and its options.

    Without --die-with-parent, which would end it with the thread that began it; it ends when its standard input does.
    """
    yield bubblewrap() or "bwrap"
    yield from ("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")
    yield from ("--new-session", "--cap-drop", "ALL")
    if may_switch_user():
        yield from (word for name in KEPT_CAPABILITIES for word in ("--cap-add", name))
    else:
        yield "--unshare-user"
    yield from ("--proc", "/proc", "--dev-bind", "/dev/null", "/dev/null", "--dev-bind", "/dev/urandom", "/dev/urandom")
    yield from ("--ro-bind-try", "/sys/devices/system/cpu", "/sys/devices/system/cpu")
    yield from ("--size", str(1 << 20), "--tmpfs", "/dev/shm")  # noqa: S108 - joblib tries it when it is imported
    for path in (*map(str, readable()), str(scratch())):
        yield from ("--ro-bind", path, path)
    yield from ("--remount-ro", "/", "--chdir", "/")


def environment() -> dict[str, str]:
    """Return the whole environment of a model's process."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT_ENVIRONMENT}
    return kept | MODEL_ENVIRONMENT | {"PYTHONPATH": python_path()}

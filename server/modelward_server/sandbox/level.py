"""Detection of the confinement that this machine supports, by confining a probe process once."""

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
"""Capabilities of a root fork server inside bubblewrap: enough to give each model a user, and to kill it."""
KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""Environment variables passed to a model; others of the server may hold passwords."""
MODEL_ENVIRONMENT = {
    # Latencies are comparable when each model uses one core; and each BLAS thread takes memory of its own.
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # Arrow's own allocators reserve a gigabyte at a time, which would count against the memory limit.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "HOME": "/",
    # The only folder that bubblewrap leaves writable; libraries such as PyTorch need one while they are imported.
    "TMPDIR": "/dev/shm",  # noqa: S108
}


@dataclass(frozen=True)
class Level:
    """The mechanisms that confine a model's process, in addition to the resource limits, which always apply."""

    bubblewrap: bool
    layers: Layers

    @property
    def parts(self) -> dict[str, bool]:
        """Return the name of each mechanism, and whether it is in effect."""
        layers = self.layers
        optional = {"landlock": bool(layers.landlock), "seccomp": layers.seccomp, "own_user": layers.own_user}
        return {"bubblewrap": self.bubblewrap, **optional}

    def __str__(self) -> str:
        return ", ".join((*(name for name, holds in self.parts.items() if holds), "limits"))


@cache
def level() -> Level:
    """Return the strongest level that works here. The first call takes a moment."""
    working = (found for wrapped, user in _candidates() if (found := _try(wrapped, user)))
    strongest = next(working, Level(False, Layers(0, False, False)))
    hides_files = strongest.bubblewrap or strongest.layers.landlock
    log.log(logging.INFO if hides_files else logging.WARNING, "models are confined by: %s", strongest)
    return strongest


def _candidates() -> Iterator[tuple[bool, int | None]]:
    users = [next_user(), None] if may_switch_user() else [None]
    return ((wrapped, user) for wrapped in (True, False) for user in users if not wrapped or bubblewrap())


def _try(wrapped: bool, user: int | None) -> Level | None:
    """Confine a probe process and return what took effect; None when it failed."""
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
    """Whether this process can run others as a different user."""
    return os.geteuid() == 0


def bubblewrap() -> str | None:
    """Return the path of bubblewrap; None where it is not installed."""
    return shutil.which("bwrap")


def command(module: str, *arguments: str, wrapped: bool) -> list[str]:
    """Return the command that runs a Python module, inside bubblewrap or not."""
    inner = [sys.executable, "-P", "-m", module, *arguments]
    return [*_wrapping(), "--", *inner] if wrapped else inner


def _wrapping() -> Iterator[str]:
    """Yield bubblewrap and its options.

    --die-with-parent is not used: it would end it with the thread that started it. It ends with its standard input.
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
    yield from ("--size", str(1 << 20), "--tmpfs", "/dev/shm")  # noqa: S108 - joblib tests it when it is imported
    for path in (*map(str, readable()), str(scratch())):
        yield from ("--ro-bind", path, path)
    yield from ("--remount-ro", "/", "--chdir", "/")


def environment() -> dict[str, str]:
    """Return the complete environment of a model's process."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT_ENVIRONMENT}
    return kept | MODEL_ENVIRONMENT | {"PYTHONPATH": python_path()}

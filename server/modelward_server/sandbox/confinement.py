"""What a process does to itself before a model is loaded in it, from which there is no way back.

Nothing here knows the server: it runs in a process that was forked for one model, which then may read Python and the
job's folder, write to nothing but its standard input's socket, and start nothing.
"""

import os
import resource
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modelward_server.sandbox import landlock, seccomp
from modelward_server.sandbox.system import (
    ON_LINUX,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    keep_capabilities,
    prctl,
)

MAX_THREADS = 256
"""Of a model that has a user of its own."""
MAX_THREADS_OF_SHARED_USER = 4096
"""Of all processes of the server's user together, where a model runs as that: the kernel counts by user."""
MAX_OPEN_FILES = 256
MAX_STACK_BYTES = 8 << 20
SPARE_ADDRESS_BYTES = 2 << 30
"""Addresses beside those that hold data: BLAS and the C library reserve what they never use."""
CAP_DAC_READ_SEARCH = 1 << 2
SYSTEM_FILES = ("/dev/null", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu")
"""What libraries look at, beside their own files."""


@dataclass(frozen=True)
class Budget:
    """What a process may take.

    Args:
        memory_bytes: beside what it holds already, in private memory of any kind.
        mapped_bytes: addresses for files that it maps.
        cpu_seconds: of all its threads together.
    """

    memory_bytes: int
    mapped_bytes: int
    cpu_seconds: int


@dataclass(frozen=True)
class Layers:
    """Which means of the kernel took hold.

    Args:
        landlock: the version of its interface; 0: it did not.
    """

    landlock: int
    seccomp: bool
    own_user: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def confine(budget: Budget, readable: Sequence[Path], user: int | None) -> Layers:
    """Confine this process, which must have one thread, as far as the kernel can.

    Args:
        readable: files and folders that it may read.
        user: the user and group to become, where this process may; None: stay who it is.

    Raises:
        OSError: the user cannot be had, or could not read what it must; then the process is in no state to go on.
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # When memory runs out, models go before servers do.
    _limit(budget, MAX_THREADS if user is not None else MAX_THREADS_OF_SHARED_USER)
    version = landlock.abi()
    ruleset = landlock.open_ruleset([*readable, *map(Path, SYSTEM_FILES)]) if version else None
    if ON_LINUX:
        _give_up_privileges(user, readable, may_read_all=ruleset is not None)
    if ruleset is not None:
        landlock.restrict(ruleset)
    if seccomp.is_known_machine():
        seccomp.restrict()
    return Layers(version, seccomp.is_known_machine(), user is not None)


def _limit(budget: Budget, threads: int) -> None:
    """Set every limit of resources.

    The memory limit is on data (RLIMIT_DATA). What that does not count is refused: shared memory, and files to write.
    The one on addresses (RLIMIT_AS) bounds the kernel's own tables.
    """
    data, addresses = _memory("VmData"), _memory("VmSize")
    limits = {
        "DATA": data + budget.memory_bytes,
        "AS": addresses + budget.memory_bytes + budget.mapped_bytes + SPARE_ADDRESS_BYTES if addresses else None,
        "CPU": budget.cpu_seconds,
        "FSIZE": 0,
        "CORE": 0,
        "NPROC": threads,
        "NOFILE": MAX_OPEN_FILES,
        "STACK": MAX_STACK_BYTES,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
        "SIGPENDING": MAX_THREADS,
        "NICE": 0,
        "RTPRIO": 0,
    }
    for name, most in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None and most is not None:
            _lower(kind, most)


def _lower(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with suppress(ValueError):  # macOS knows limits that it does not set.
        resource.setrlimit(kind, (most, most))


def _memory(name: str) -> int:
    """Return a figure of this process's memory in bytes; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(name))


def _give_up_privileges(user: int | None, readable: Sequence[Path], may_read_all: bool) -> None:
    """Become the user, and give up every capability and every way to one.

    Args:
        may_read_all: let the user read the files even where only root may, since Landlock allows it no others.
    """
    kept = 0
    if user is not None:
        prctl(PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        if not all(os.access(path, os.R_OK) for path in (*readable, Path(os.__file__), Path(__file__))):
            kept = CAP_DAC_READ_SEARCH if may_read_all else _refuse(user)
    keep_capabilities(kept)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_DUMPABLE, 0)  # Else others of the same user could look into it.


def _refuse(user: int) -> int:
    raise PermissionError(f"user {user} cannot read Python's files")

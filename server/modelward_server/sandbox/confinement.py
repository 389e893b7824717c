"""Confinement that a process applies to itself before a model is loaded in it; it cannot be reverted.

This module is independent of the server: it runs in a process that was forked for one model. Afterwards the process can
read Python's files and the job's folder, write only to the socket of its standard input, and start no process.
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
"""Limit for a model that runs as a user of its own."""
MAX_THREADS_OF_SHARED_USER = 4096
"""Limit for all processes of the server's user together, where a model runs as that user: the kernel counts by user."""
MAX_OPEN_FILES = 256
MAX_STACK_BYTES = 8 << 20
SPARE_ADDRESS_BYTES = 2 << 30
"""Address space in addition to that for data: BLAS and the C library reserve what they never use."""
CAP_DAC_READ_SEARCH = 1 << 2
SYSTEM_FILES = ("/dev/null", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu")
"""Files that libraries read in addition to their own."""


@dataclass(frozen=True)
class Budget:
    """The resources that a process may use.

    Args:
        memory_bytes: private memory of any kind, in addition to what the process holds already.
        mapped_bytes: address space for mapped files.
        cpu_seconds: processor time of all its threads together.
    """

    memory_bytes: int
    mapped_bytes: int
    cpu_seconds: int


@dataclass(frozen=True)
class Layers:
    """The kernel's mechanisms that took effect.

    Args:
        landlock: the version of its ABI; 0: it is not in effect.
    """

    landlock: int
    seccomp: bool
    own_user: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def confine(budget: Budget, readable: Sequence[Path], user: int | None) -> Layers:
    """Confine this process, which must be single-threaded, as far as the kernel supports.

    Args:
        readable: files and folders that it may read.
        user: the user and group to switch to, where permitted; None: keep the current user.

    Raises:
        OSError: switching to the user failed, or it cannot read required files; the process must then not continue.
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # The OOM killer then chooses models before servers.
    _limit(budget, MAX_THREADS if user is not None else MAX_THREADS_OF_SHARED_USER)
    version = landlock.abi()
    ruleset = landlock.open_ruleset([*readable, *map(Path, SYSTEM_FILES)]) if version else None
    if ON_LINUX:
        _drop_privileges(user, readable, may_read_all=ruleset is not None)
    if ruleset is not None:
        landlock.restrict(ruleset)
    if seccomp.is_known_machine():
        seccomp.restrict()
    return Layers(version, seccomp.is_known_machine(), user is not None)


def _limit(budget: Budget, threads: int) -> None:
    """Set all resource limits.

    The memory limit is on data (RLIMIT_DATA). Memory that it does not count, shared memory and written files, is denied
    otherwise. The limit on address space (RLIMIT_AS) bounds the kernel's page tables.
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
    for name, maximum in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None and maximum is not None:
            _lower(kind, maximum)


def _lower(kind: int, maximum: int) -> None:
    _, hard = resource.getrlimit(kind)
    maximum = maximum if hard == resource.RLIM_INFINITY else min(maximum, hard)
    with suppress(ValueError):  # macOS defines limits that it does not let be set.
        resource.setrlimit(kind, (maximum, maximum))


def _memory(name: str) -> int:
    """Return a memory figure of this process in bytes; 0 where the system does not report it."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(name))


def _drop_privileges(user: int | None, readable: Sequence[Path], may_read_all: bool) -> None:
    """Switch to the user, and drop every capability and every way to gain one.

    Args:
        may_read_all: let the user read files that only root can read, since Landlock denies it all others.
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
    prctl(PR_SET_DUMPABLE, 0)  # Otherwise other processes of the same user could inspect it.


def _refuse(user: int) -> int:
    raise PermissionError(f"user {user} cannot read Python's files")

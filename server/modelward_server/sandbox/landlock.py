"""Landlock: a process drops its access to the file system except for listed files, to TCP, and to signals to others.

The interface is described in https://docs.kernel.org/userspace-api/landlock.html. Its features depend on the kernel's
ABI version (1 since Linux 5.13, 4 with TCP since 6.7, 6 with signals and abstract sockets since 6.12).
"""

import ctypes
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from modelward_server.sandbox.system import ON_LINUX, call

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""Numbers of the system calls, the same on every architecture."""
RULE_PATH_BENEATH = 1
FLAG_VERSION = 1
READ_FILE, READ_DIR = 1 << 2, 1 << 3
FILE_ACCESS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All file access rights of an ABI, keyed by the first ABI with them."""
TCP_ACCESS, SCOPES = 0b11, 0b11
"""Bind and connect; abstract sockets and signals."""


def abi() -> int:
    """Return the kernel's ABI version; 0 where Landlock is not available or not permitted."""
    if not ON_LINUX:
        return 0
    try:
        return call("syscall", CREATE_RULESET, None, ctypes.c_size_t(0), FLAG_VERSION)
    except OSError:
        return 0


def open_ruleset(readable: Iterable[Path]) -> int:
    """Return a ruleset: these files and folders may be read, everything else that Landlock handles is denied.

    Raises:
        OSError: Landlock is not available.
    """
    version = abi()
    files = FILE_ACCESS[max(known for known in FILE_ACCESS if known <= max(1, version))]
    access = [files, *([TCP_ACCESS] if version >= 4 else []), *([SCOPES] if version >= 6 else [])]
    attributes = (ctypes.c_uint64 * len(access))(*access)
    ruleset = call("syscall", CREATE_RULESET, attributes, ctypes.c_size_t(ctypes.sizeof(attributes)), 0)
    for path in readable:
        with suppress(FileNotFoundError):
            _allow_reading(ruleset, path)
    return ruleset


def restrict(ruleset: int) -> None:
    """Apply the ruleset to this thread and its descendants permanently; requires no_new_privs.

    Raises:
        OSError: the kernel refuses.
    """
    call("syscall", RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def _allow_reading(ruleset: int, path: Path) -> None:
    parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        access = READ_FILE | READ_DIR if path.is_dir() else READ_FILE
        rule = _PathBeneath(access, parent)
        call("syscall", ADD_RULE, ruleset, RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(parent)

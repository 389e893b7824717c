"""Linux system calls that Python has no function for."""

import ctypes
import os
import sys
from functools import cache
from typing import Any

CAPABILITY_VERSION_3 = 0x20080522
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS = 1, 4, 8
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
ON_LINUX = sys.platform == "linux"


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> int:
    """Call a function of the C library.

    Raises:
        OSError: it failed.
    """
    ctypes.set_errno(0)
    result: int = getattr(_libc(), name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def prctl(option: int, value: int, argument: bytes | None = None) -> None:
    """Set an attribute of this process.

    Raises:
        OSError: the kernel does not know the option, or refuses.
    """
    call("prctl", option, ctypes.c_ulong(value), argument, ctypes.c_ulong(0), ctypes.c_ulong(0))


def keep_capabilities(mask: int) -> None:
    """Drop every capability of this thread except those in the mask (bits 0 to 31).

    Raises:
        OSError: a capability of the mask is not held.
    """
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    effective, permitted, inheritable = mask, mask, 0
    call("capset", header, (ctypes.c_uint32 * 6)(effective, permitted, inheritable, 0, 0, 0))

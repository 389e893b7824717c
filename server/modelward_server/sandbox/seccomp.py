"""System call filter: denies new processes and programs, sockets, and memory that the limits do not count.

Each denied call fails with EPERM, so that a model which tries one raises an ordinary error. See
https://docs.kernel.org/userspace-api/seccomp_filter.html; the numbers are those of the kernel's unistd.h.
"""

import ctypes
import os
import platform
import struct
from collections.abc import Sequence
from errno import ENOSYS, EPERM

from modelward_server.sandbox.system import ON_LINUX, PR_SET_SECCOMP, prctl

MODE_FILTER = 2
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""The column of a machine in the tables below, and its audit architecture."""
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # Other processes: creating one, becoming another program, inspecting one or changing how it runs.
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # The network, Unix sockets included.
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    # What Landlock does not control: changing or truncating files that the user owns, and watching or flushing them.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "truncate": (76, 45),
    "creat": (85, None),
    "inotify_add_watch": (254, 27),
    "sync": (162, 81),
    "syncfs": (306, 267),
    # Memory, or access to it, that no limit of the process counts.
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "semget": (64, 190),
    "semop": (65, 193),
    "semtimedop": (220, 192),
    "semctl": (66, 191),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "io_setup": (206, 0),
    "io_uring_setup": (425, 425),
    # Parts of the kernel that no model needs, and that have allowed escapes.
    "userfaultfd": (323, 282),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "quotactl": (179, 60),
    "syslog": (103, 116),
    "personality": (135, 92),
    "landlock_create_ruleset": (444, 444),
}
OF_ITSELF = {
    "kill": (62, 129),
    "tgkill": (234, 131),
    "prlimit64": (302, 261),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
}
"""Calls whose first argument is a process id: allowed for 0 and for the process itself."""
CLONE, CLONE3, MMAP = (56, 220), (435, 435), (9, 222)
OPEN, OPENAT, OPENAT2, SOCKETPAIR = (2, None), (257, 56), (437, 437), (53, 199)
O_TRUNC, SOCK_TYPE_MASK, SOCK_STREAM = 0o1000, 0xF, 1
CLONE_THREAD = 0x10000
MAP_SHARED_ANONYMOUS, MAP_GROWSDOWN = 0x21, 0x100
"""Mappings that RLIMIT_DATA does not count."""
X32_CALLS = 0x40000000
"""Offset from which x86-64 has the same calls again, for the x32 ABI."""

_LOAD, _AND, _EQUALS, _AT_LEAST, _HAS_BITS, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
Instruction = tuple[int, int, int, int]
"""Operation code, instructions to skip when true and when false, and a constant."""


def is_known_machine() -> bool:
    """Whether the filter supports this machine."""
    return ON_LINUX and platform.machine() in MACHINES


def restrict() -> None:
    """Apply the filter to this thread and its descendants permanently; requires no_new_privs.

    Raises:
        OSError: the kernel refuses.
    """
    program = b"".join(struct.pack("=HBBI", *one) for one in _program(platform.machine(), os.getpid()))
    kept = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(kept))
    prctl(PR_SET_SECCOMP, MODE_FILTER, described)


def _program(machine: str, pid: int) -> list[Instruction]:
    column, architecture = MACHINES[machine]
    denied = _result(_ERRNO | EPERM)
    checks: list[Instruction] = [
        *(_load(_ARCHITECTURE), (_EQUALS, 1, 0, architecture), _result(_KILL)),
        *(_load(_NUMBER), (_AT_LEAST, 0, 1, X32_CALLS), denied),
    ]
    for numbers in REFUSED.values():
        checks += _when(numbers[column], [denied])
    for numbers in OF_ITSELF.values():
        checks += _when(numbers[column], [_load_argument(0), (_EQUALS, 1, 0, 0), (_EQUALS, 0, 1, pid), *_either()])
    for opaque in (CLONE3, OPENAT2):  # The filter cannot read their flags; the C library falls back to the older calls.
        checks += _when(opaque[column], [_result(_ERRNO | ENOSYS)])
    checks += _when(CLONE[column], [_load_argument(0), (_HAS_BITS, 0, 1, CLONE_THREAD), *_either()])
    checks += _when(OPEN[column], [_load_argument(1), (_HAS_BITS, 1, 0, O_TRUNC), *_either()])
    checks += _when(OPENAT[column], [_load_argument(2), (_HAS_BITS, 1, 0, O_TRUNC), *_either()])
    # A datagram socket pair could be connected to an address; a stream pair reaches nothing else.
    stream = [(_AND, 0, 0, SOCK_TYPE_MASK), (_EQUALS, 0, 1, SOCK_STREAM)]
    checks += _when(SOCKETPAIR[column], [_load_argument(1), *stream, *_either()])
    checks += _when(MMAP[column], _mapping())
    return [*checks, _result(_ALLOW)]


def _when(number: int | None, body: Sequence[Instruction]) -> list[Instruction]:
    """Run the body, which ends with a result, when the call has that number."""
    return [] if number is None else [(_EQUALS, 0, len(body), number), *body]


def _either() -> list[Instruction]:
    return [_result(_ALLOW), _result(_ERRNO | EPERM)]


def _mapping() -> list[Instruction]:
    return [
        *(_load_argument(3), (_HAS_BITS, 3, 0, MAP_GROWSDOWN)),
        *((_AND, 0, 0, MAP_SHARED_ANONYMOUS), (_EQUALS, 1, 0, MAP_SHARED_ANONYMOUS)),
        *_either(),
    ]


def _load(offset: int) -> Instruction:
    return (_LOAD, 0, 0, offset)


def _load_argument(number: int) -> Instruction:
    """Load the lower half of an argument; both machines are little-endian."""
    return _load(_ARGUMENTS + 8 * number)


def _result(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)

"""The number of files that the process may have open."""

import resource

MAX_FILES = 65_536
"""Enough for as many connections; some containers allow a billion, and libraries may keep a table of all of them."""


def raise_file_limit() -> None:
    """Allow as many open files as the operating system lets us: each connection is one, and 1,024 are common."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

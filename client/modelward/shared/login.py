"""The name of the user that a process runs as."""

import getpass
import os


def login_name() -> str:
    """Return the login name of the process's user; in a container a user may have only a numeric id."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"user {os.getuid()}"

"""Waiting for a condition."""

import time
from collections.abc import Callable


def eventually(holds: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it did not in all that time.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not hold in {seconds:g} s"
        time.sleep(0.02)

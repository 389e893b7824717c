"""Waiting for a condition."""

import time
from collections.abc import Callable

PATIENCE_SECONDS = 300.0
"""How long to wait for what comes by itself: only a test that hangs waits so long, however slow the machine is."""


def eventually(holds: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it did not in all that time.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not hold in {seconds:g} s"
        time.sleep(0.02)

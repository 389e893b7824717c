"""Forced exit of the process when its shutdown does not complete in time."""

import logging
import os
import threading

log = logging.getLogger(__name__)

MARGIN_SECONDS = 1.0
"""Time beyond the grace period in which a process may end by itself."""


def exit_after(grace_seconds: float) -> None:
    """End the process when it has not ended by itself soon after the grace period.

    A thread cannot be ended from outside: one that waits for an unresponsive disk or peer would keep the process alive
    without limit. The database rolls back what was not committed, as after a crash.
    """
    timer = threading.Timer(grace_seconds + MARGIN_SECONDS, _exit)
    timer.daemon = True
    timer.start()


def _exit() -> None:
    busy = ", ".join(sorted(thread.name for thread in threading.enumerate() if not thread.daemon))
    log.warning("the grace period is over and these threads have not ended: %s; the process exits without them", busy)
    logging.shutdown()
    os._exit(0)

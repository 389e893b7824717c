"""The end of the process, whatever hangs."""

import logging
import os
import threading

log = logging.getLogger(__name__)

MARGIN_SECONDS = 1.0
"""How long beyond the grace a process may take to end by itself."""


def exit_after(grace_seconds: float) -> None:
    """End the process when it has not ended by itself soon after the grace.

    A thread cannot be ended from outside: one that waits for a disk or a peer that never answers would keep the process
    for ever. What it had not committed is undone by the database, as after a crash.
    """
    timer = threading.Timer(grace_seconds + MARGIN_SECONDS, _exit)
    timer.daemon = True
    timer.start()


def _exit() -> None:
    busy = ", ".join(sorted(thread.name for thread in threading.enumerate() if not thread.daemon))
    log.warning("the grace is over and these threads have not ended: %s; the process ends without them", busy)
    logging.shutdown()
    os._exit(0)

"""One loaded model of the pool: its processes, and the calls that wait for one of them."""

import asyncio
import math
import os
import time
from collections import deque

from modelward_server.sandbox.warm_model import LoadedModel, WarmModel

MAX_PER_MODEL = os.cpu_count() or 1
"""Maximum number of processes of one model: each has one thread."""
WEIGHT = 0.2
"""The weight of the newest call in the mean time of a call."""
KNOWN_SECONDS = 10.0
"""For so long after an answer the mean tells of the next call: one slow call must not refuse all others for ever."""


class Slot:
    """One loaded model: its processes, and the calls that wait for one of them."""

    def __init__(self, model: LoadedModel) -> None:
        self.key = model.key
        self.model = model
        self.idle: list[WarmModel] = []
        self.processes = 0
        """Those that are idle, at work, or being started."""
        self.is_loading = False
        """Whether one is being started."""
        self.waiting = deque[asyncio.Future[WarmModel]]()
        """Calls that wait for a process, those that came first in front."""
        self.mean_seconds = self.mean_rows = 0.0
        """The mean time of a call, without waiting, and its rows."""
        self.answered_at = self.used_at = time.monotonic()

    @property
    def is_crowded(self) -> bool:
        """Whether another process would answer calls that wait; one that is being started must answer first."""
        return not self.is_loading and self.processes <= len(self.waiting) and self.processes < MAX_PER_MODEL

    def expected_seconds(self, rows: int) -> float:
        """Return how long a call with so many rows would take that comes now, at least; 0 if that is not known."""
        if time.monotonic() - self.answered_at > KNOWN_SECONDS:
            return 0.0
        ahead = math.ceil((len(self.waiting) + self.processes - len(self.idle)) / max(self.processes, 1))
        return (ahead + min(1.0, rows / max(self.mean_rows, 1.0))) * self.mean_seconds

    def note_call(self, asked: float, rows: int) -> None:
        """Note that a call with so many rows has ended, which was asked at a time."""
        self.answered_at = time.monotonic()
        self.mean_seconds += WEIGHT * (self.answered_at - asked - self.mean_seconds)
        self.mean_rows += WEIGHT * (rows - self.mean_rows)

    async def wait(self) -> WarmModel:
        """Wait for a process, in turn.

        Raises:
            LimitReached, ModelProcessError, StoreUnavailable: none can be started.
        """
        turn: asyncio.Future[WarmModel] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn in self.waiting:  # A call that is gone must take no place from others.
                self.waiting.remove(turn)
            elif not turn.cancelled() and not turn.exception():
                self.give(turn.result())  # It was given a process at this moment.
            raise

    def give(self, process: WarmModel) -> None:
        """Give a process to the call that waits longest."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(process)
                return
        self.idle.append(process)

    def fail(self, error: BaseException) -> None:
        """Let all calls that wait fail: there is no process, and none can be started."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_exception(error)

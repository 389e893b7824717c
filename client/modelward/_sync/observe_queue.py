# Derived from modelward/_async/observe_queue.py by client/unasync.py: change that one.
"""A queue of live data: batches are sent in the background, those that wait together in one call."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from modelward._follow import start_thread
from modelward._monitor import Monitor
from modelward._observed_batches import QueuedBatch
from modelward.drift import Observed
from modelward.errors import ConcurrentChange, DeadlineExceeded, InvalidField, LimitReached, ModelwardError, Unavailable

MAX_BATCHES = 256
"""Maximum number of batches of one call."""
PAUSE_SECONDS = 1.0
"""Pause before batches are sent again, after the attempts of a call were in vain."""


class ObserveQueue:
    """Sends batches in order, and keeps each until the server has stored it.

    A batch that the server refuses is left out; its error is raised by the next `put` or `flush`, and those after it
    are sent. What ends every call, such as a reference that was deleted, is raised likewise, and nothing is left out.

    Args:
        send: sends batches of one header, the first under a number, and returns what the server answers.
        limit: maximum number of batches that are not stored yet.
        acknowledged: the number of the last batch that is stored.
    """

    def __init__(self, send: Callable[[Sequence[QueuedBatch], int], Observed], limit: int, acknowledged: int) -> None:
        self._send, self._limit = send, limit
        self._next_number = acknowledged + 1
        self._monitor = Monitor()
        self._waiting: deque[QueuedBatch] = deque()
        self._answers: list[Observed] = []
        self._failures: list[Exception] = []
        self._trouble: ModelwardError | None = None
        self._is_sending = False
        self._alone = 0
        """How many batches are sent one by one, after one of them was refused."""

    def put(self, batch: QueuedBatch, seconds: float) -> Observed:
        """Queue a batch, and return what the server has answered since the last call.

        Raises:
            DeadlineExceeded, Unavailable: the queue is full, and nothing was stored in that time.
            ModelwardError: a batch before it was refused; this one is not queued.
        """
        self._wait(lambda: len(self._waiting) < self._limit, seconds)
        if self._monitor.change(lambda: self._push(batch)):
            self._sender = start_thread(self._send_all)
        return self._monitor.change(self._take_answers)

    def flush(self, seconds: float) -> Observed:
        """Wait until every batch is stored; raises as `put`."""
        if self._monitor.change(self._resume):
            self._sender = start_thread(self._send_all)
        self._wait(lambda: not self._waiting, seconds)
        return self._monitor.change(self._take_answers)

    def _wait(self, holds: Callable[[], bool], seconds: float) -> None:
        in_time = self._monitor.wait_for(lambda: bool(self._failures) or holds(), seconds)
        if self._failures:
            raise self._monitor.change(lambda: self._failures.pop(0))
        if not in_time:
            late = f"{len(self._waiting)} batches were not stored within {seconds:g} s; they are still queued"
            raise self._trouble or DeadlineExceeded(late)

    def _send_all(self) -> None:
        """Send until nothing waits."""
        while group := self._monitor.change(self._next_group):
            try:
                answer = self._send(group, self._next_number)
            except (InvalidField, LimitReached) as error:
                if isinstance(error, LimitReached) and error.retry_seconds is not None:
                    self._pause(error)
                else:
                    self._refused(group, error)
            except (Unavailable, DeadlineExceeded, ConcurrentChange) as error:
                self._pause(error)
            except Exception as error:
                self._monitor.change(partial(self._stop, error))
                return
            else:
                self._monitor.change(partial(self._stored, answer, len(group)))

    def _pause(self, error: ModelwardError) -> None:
        self._trouble = error
        time.sleep(PAUSE_SECONDS)

    def _refused(self, group: Sequence[QueuedBatch], error: ModelwardError) -> None:
        """Leave out the batch that was refused; if it is not known which, send one after the other to find it."""
        number = int(error.metadata.get("batch", self._next_number - 1))
        before = 0 if len(group) == 1 else number - self._next_number
        if 0 <= before < len(group):
            self._monitor.change(partial(self._leave_out, error, before))
        else:
            self._alone = len(group)

    def _push(self, batch: QueuedBatch) -> bool:
        self._waiting.append(batch)
        return self._resume()

    def _resume(self) -> bool:
        """Return whether sending must begin."""
        begins = bool(self._waiting) and not self._is_sending
        self._is_sending = self._is_sending or begins
        return begins

    def _next_group(self) -> list[QueuedBatch]:
        """Return the first batches with the same header; without one, sending ends."""
        limit = 1 if self._alone else MAX_BATCHES
        group: list[QueuedBatch] = []
        for one in self._waiting:
            if len(group) == limit or one.header != self._waiting[0].header:
                break
            group.append(one)
        self._is_sending = bool(group)
        return group

    def _stored(self, answer: Observed, sent: int) -> None:
        self._forget(sent)
        self._trouble = None
        self._answers.append(answer)

    def _forget(self, stored: int) -> None:
        for _ in range(stored):
            self._waiting.popleft()
        self._next_number += stored
        self._alone = max(0, self._alone - stored)

    def _leave_out(self, error: ModelwardError, before: int) -> None:
        """Leave out a batch; the server has stored those before it."""
        self._forget(before)
        self._waiting.popleft()
        self._alone = max(0, self._alone - 1)
        self._failures.append(error)

    def _stop(self, error: Exception) -> None:
        self._is_sending = False
        self._failures.append(error)

    def _take_answers(self) -> Observed:
        """Return all answers as one, and forget them but for the last state."""
        answers, last = self._answers, self._answers[-1] if self._answers else Observed(0)
        self._answers = [Observed(last.acknowledged, (), False, last.sequential_evidence, last.late_rows)]
        reports = tuple(report for answer in answers for report in answer.reports)
        alarm = any(answer.alarm for answer in answers)
        return Observed(last.acknowledged, reports, alarm, last.sequential_evidence, last.late_rows)

"""The pool of loaded models: which are loaded, in how many processes, and whose call is next."""

import asyncio
import math
import os
import time
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path

from modelward.errors import LimitReached, ModelwardError
from modelward.lifecycle import ModelVersion
from modelward_server.sandbox.sandbox import Limits, Run
from modelward_server.sandbox.score_request import Rows
from modelward_server.sandbox.warm_model import LoadedModel, ModelKey, WarmModel
from modelward_server.scoring.part_times import PartTimes

MAX_PER_MODEL = os.cpu_count() or 1
"""Maximum number of processes of one model: each has one thread."""
MAX_WAITING = 64
"""Maximum number of calls that wait for one model."""
RETRY_SECONDS = 1.0
"""After this time a call that was refused may succeed."""
PINNED_SECONDS = 600.0
"""For so long after its last call a version in production is ended only for another one in production."""
WEIGHT = 0.2
"""The weight of the newest call in the mean time of a call."""


class _Slot:
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
        self.mean_seconds = 0.0
        """The mean time of a call, without waiting."""
        self.used_at = time.monotonic()

    @property
    def is_crowded(self) -> bool:
        """Whether another process would answer calls that wait; one that is being started must answer first."""
        return not self.is_loading and self.processes <= len(self.waiting) and self.processes < MAX_PER_MODEL

    def expected_seconds(self) -> float:
        """Return how long a call would take that comes now."""
        ahead = math.ceil((len(self.waiting) + self.processes - len(self.idle)) / max(self.processes, 1))
        return (ahead + 1) * self.mean_seconds

    async def wait(self) -> WarmModel:
        """Wait for a process, in turn.

        Raises:
            LimitReached, ModelFailed, StoreUnavailable: none can be started.
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


class ModelPool:
    """Keeps models loaded, and lets them predict.

    A model has one process, and more while calls wait and the pool has room. When there is no room, models that are not
    in use are ended, the one that was used longest ago first; one that is in production only for another one that is,
    or if it was not used for ten minutes.

    Args:
        limits: of each process.
        file_of: maps the SHA-256 of a file to the path of its verified content.
        processes: maximum number of processes.
        memory_bytes: maximum memory of all of them.
    """

    def __init__(self, limits: Limits, file_of: Callable[[str], Path], processes: int, memory_bytes: int) -> None:
        self._limits = limits
        self._file_of = file_of
        self._max_processes = processes
        self._max_bytes = memory_bytes
        self._slots: dict[ModelKey, _Slot] = {}
        self._in_production: dict[str, ModelKey] = {}
        self._memory: dict[WarmModel, int] = {}
        self._room = asyncio.Lock()
        self._work: set[asyncio.Task[None]] = set()
        self.times = PartTimes()

    async def predict(self, model: LoadedModel, rows: Rows, field: str, seconds: float | None) -> tuple[Run, float]:
        """Let a model predict rows; it is loaded first if it is not.

        The process finishes what it has begun when the caller goes away.

        Args:
            model: the model.
            rows: the rows.
            field: the field of the request that holds them, for errors.
            seconds: the time that the call has; None for any.

        Raises:
            LimitReached: too many calls wait, its time would not suffice, or there is no room for the model.
            InvalidField, ModelFailed: see `WarmModel.predict`.
        """
        if rows.is_large:
            await asyncio.to_thread(lambda: rows.request)
        begin = time.monotonic()
        slot = self._slot(model)
        _check_waiting(slot, seconds)
        process = slot.idle.pop() if slot.idle else await self._next_process(slot)
        asked = time.monotonic()
        try:
            run, of_model = await process.predict(rows, field, seconds)
            self.times.predicted(asked - begin, time.monotonic() - asked, of_model)
            return run, of_model
        finally:
            self._give_back(slot, process, asked)

    async def load(self, model: LoadedModel) -> None:
        """Load a model, so that its next call need not wait.

        Raises:
            LimitReached: there is no room for it.
            ModelFailed: it does not load.
        """
        slot = self._slot(model)
        if not slot.processes:
            slot.give(await self._next_process(slot))

    def pin(self, model: str, loaded: LoadedModel) -> None:
        """Note which version of a model is in production: it is ended only for others that are."""
        self._in_production[model] = loaded.key

    def serves(self, model: str) -> bool:
        """Return whether the version of a model that is in production was scored here."""
        return model in self._in_production

    async def close(self) -> None:
        """End all processes."""
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        for process in [*self._memory]:
            await self._end(process)

    @property
    def memory_bytes(self) -> int:
        """The memory of all processes together."""
        return sum(self._memory.values())

    @property
    def processes(self) -> int:
        """The number of processes, with those that are being started."""
        return sum(slot.processes for slot in self._slots.values())

    def _slot(self, model: LoadedModel) -> _Slot:
        key = model.key
        slot = self._slots.get(key) or self._slots.setdefault(key, _Slot(model))
        slot.used_at = time.monotonic()
        return slot

    async def _next_process(self, slot: _Slot) -> WarmModel:
        """Wait for a process of a model; another is started where there is room."""
        if not slot.processes or (slot.is_crowded and self.processes < self._max_processes):
            self._begin(slot)
        return await slot.wait()

    def _begin(self, slot: _Slot) -> None:
        """Start a process for whoever waits, also when the call that caused it goes away."""
        slot.processes += 1
        slot.is_loading = True
        self._in_background(self._start(slot))

    async def _start(self, slot: _Slot) -> None:
        try:
            async with self._room:
                await self._make_room(slot, self.processes - self._max_processes, 0)
            file = await asyncio.to_thread(self._file_of, slot.model.file)
            process = await WarmModel.start(slot.model, file, self._limits)
            self._memory[process] = process.memory_bytes
            await self._fit(slot, process)
        except BaseException as error:
            slot.processes, slot.is_loading = slot.processes - 1, False
            if not slot.processes:
                slot.fail(error)
                self._slots.pop(slot.key, None)
            if not isinstance(error, ModelwardError):
                raise
        else:
            slot.is_loading = False
            slot.give(process)

    async def _fit(self, slot: _Slot, process: WarmModel) -> None:
        """Make room for the memory of a process that was started, or end it."""
        try:
            async with self._room:
                await self._make_room(slot, 0, self.memory_bytes - self._max_bytes)
        except LimitReached:
            await self._end(process)
            raise

    async def _make_room(self, wanted_by: _Slot, processes: int, bytes_: int) -> None:
        """End models that are not in use, until so many processes and bytes are free.

        Raises:
            LimitReached: all others are in use, or in production.
        """
        while processes > 0 or bytes_ > 0:
            slot = self._least_needed(wanted_by)
            if slot is None:
                raise self._no_room(wanted_by.model.version)
            process = slot.idle.pop()
            slot.processes -= 1
            self._forget_unused(slot)
            processes, bytes_ = processes - 1, bytes_ - self._memory[process]
            await self._end(process)

    def _least_needed(self, wanted_by: _Slot) -> _Slot | None:
        since = time.monotonic() - PINNED_SECONDS
        known = {key for key in self._in_production.values() if key in self._slots}
        pinned = {key for key in known if self._slots[key].used_at > since}
        wants = wanted_by.key in pinned
        unused = [slot for slot in self._slots.values() if slot.idle and slot is not wanted_by]
        allowed = [slot for slot in unused if wants or slot.key not in pinned]
        return min(allowed, key=lambda slot: (slot.key in pinned, slot.used_at), default=None)

    def _no_room(self, version: ModelVersion) -> LimitReached:
        used = f"{self.processes - 1} of {self._max_processes} processes, {self.memory_bytes >> 20:,} MiB"
        fix = "retry later, or raise MODELWARD_SCORING_PROCESSES or MODELWARD_SCORING_MEMORY_MB"
        message = f"there is no room to load {version}: {used} are in use; {fix}"
        return LimitReached(message, retry_seconds=RETRY_SECONDS, limit="scoring_memory")

    def _give_back(self, slot: _Slot, process: WarmModel, asked: float) -> None:
        """Let the next call have a process; one that has not answered settles first."""
        if process.is_idle:
            self._answered(slot, process, asked)
        else:
            self._in_background(self._settle(slot, process, asked))

    async def _settle(self, slot: _Slot, process: WarmModel, asked: float) -> None:
        await process.settle()
        self._answered(slot, process, asked)

    def _answered(self, slot: _Slot, process: WarmModel, asked: float) -> None:
        slot.mean_seconds += WEIGHT * (time.monotonic() - asked - slot.mean_seconds)
        if process.has_ended:
            slot.processes -= 1
            self._memory.pop(process, None)
            if slot.waiting and not slot.processes:
                self._begin(slot)
            self._forget_unused(slot)
        else:
            self._memory[process] = process.memory_bytes
            slot.give(process)

    def _forget_unused(self, slot: _Slot) -> None:
        if not slot.processes and not slot.waiting:
            self._slots.pop(slot.key, None)

    async def _end(self, process: WarmModel) -> None:
        self._memory.pop(process, None)
        await process.end()

    def _in_background(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # Nothing awaits it.


def _check_waiting(slot: _Slot, seconds: float | None) -> None:
    """Refuse a call that would wait too long.

    Raises:
        LimitReached: too many calls wait, or its time would not suffice.
    """
    version = slot.model.version
    if len(slot.waiting) >= MAX_WAITING:
        message = f"{MAX_WAITING} calls wait for {version}; retry later"
        raise LimitReached(message, retry_seconds=RETRY_SECONDS, limit="scoring_queue")
    expected = slot.expected_seconds()
    if seconds is not None and expected > seconds:
        message = f"{version} would answer in about {expected:.3g} s, but the call has {seconds:.3g} s left"
        raise LimitReached(message, retry_seconds=expected, limit="scoring_queue")

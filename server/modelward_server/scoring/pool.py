"""The pool of loaded models: which are loaded, in how many processes, and whose call is next."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path

from modelward.errors import LimitReached, ModelwardError
from modelward.lifecycle import ModelVersion
from modelward_server.sandbox.answers import ModelProcessError
from modelward_server.sandbox.sandbox import Limits, Run
from modelward_server.sandbox.score_request import Rows
from modelward_server.sandbox.warm_model import LoadedModel, ModelKey, WarmModel, failed
from modelward_server.scoring.part_times import PartTimes
from modelward_server.scoring.slot import Slot

MAX_WAITING = 64
"""Maximum number of calls that wait for one model."""
RETRY_SECONDS = 1.0
"""After this time a call that was refused may succeed."""
PINNED_SECONDS = 600.0
"""For so long after its last call a version in production is ended only for another one in production."""


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
        self._slots: dict[ModelKey, Slot] = {}
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
        _check_waiting(slot, model.version, rows.count, seconds)
        process = slot.idle.pop() if slot.idle else await self._next_process(slot, model.version)
        asked = time.monotonic()
        left = None if seconds is None else begin + seconds - asked
        if left is not None and left <= 0:
            slot.give(process)  # Its caller is about to go away, and would take the process along.
            raise _too_late(model.version, seconds or 0.0)
        try:
            run, of_model = await process.predict(model.version, rows, field, left)
            self.times.predicted(asked - begin, time.monotonic() - asked, of_model)
            return run, of_model
        finally:
            self._give_back(slot, process, asked, rows.count)

    async def load(self, model: LoadedModel) -> None:
        """Load a model, so that its next call need not wait.

        Raises:
            LimitReached: there is no room for it.
            ModelFailed: it does not load.
        """
        slot = self._slot(model)
        if not slot.processes:
            slot.give(await self._next_process(slot, model.version))

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

    def _slot(self, model: LoadedModel) -> Slot:
        key = model.key
        slot = self._slots.get(key) or self._slots.setdefault(key, Slot(model))
        slot.used_at = time.monotonic()
        self._end_dead(slot)
        return slot

    def _end_dead(self, slot: Slot) -> None:
        """Forget processes that have died while they were idle, so that no call is lost with one."""
        for process in [one for one in slot.idle if one.has_died]:
            slot.idle.remove(process)
            slot.processes -= 1
            self._in_background(self._end(process))

    async def _next_process(self, slot: Slot, version: ModelVersion) -> WarmModel:
        """Wait for a process of a model; another is started where there is room.

        Raises:
            LimitReached, StoreUnavailable: none can be started.
            ModelFailed: the model does not load; `version` is named, since others may have the same files.
        """
        if not slot.processes or (slot.is_crowded and self.processes < self._max_processes):
            self._begin(slot)
        try:
            return await slot.wait()
        except ModelProcessError as error:
            raise failed(version, str(error)) from None

    def _begin(self, slot: Slot) -> None:
        """Start a process for whoever waits, also when the call that caused it goes away."""
        slot.processes += 1
        slot.is_loading = True
        self._in_background(self._start(slot))

    async def _start(self, slot: Slot) -> None:
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
            if not isinstance(error, ModelwardError | ModelProcessError):
                raise
        else:
            slot.is_loading = False
            slot.give(process)

    async def _fit(self, slot: Slot, process: WarmModel) -> None:
        """Make room for the memory of a process that was started, or end it."""
        try:
            async with self._room:
                await self._make_room(slot, 0, self.memory_bytes - self._max_bytes)
        except LimitReached:
            await self._end(process)
            raise

    async def _make_room(self, wanted_by: Slot, processes: int, bytes_: int) -> None:
        """End models that are not in use, until so many processes and bytes are free.

        Raises:
            LimitReached: all others are in use, or in production.
        """
        while processes > 0 or bytes_ > 0:
            slot = self._least_needed(wanted_by)
            if slot is None:
                raise self._no_room()
            process = slot.idle.pop()
            slot.processes -= 1
            self._forget_unused(slot)
            processes, bytes_ = processes - 1, bytes_ - self._memory[process]
            await self._end(process)

    def _least_needed(self, wanted_by: Slot) -> Slot | None:
        since = time.monotonic() - PINNED_SECONDS
        known = {key for key in self._in_production.values() if key in self._slots}
        pinned = {key for key in known if self._slots[key].used_at > since}
        wants = wanted_by.key in pinned
        unused = [slot for slot in self._slots.values() if slot.idle and slot is not wanted_by]
        allowed = [slot for slot in unused if wants or slot.key not in pinned]
        return min(allowed, key=lambda slot: (slot.key in pinned, slot.used_at), default=None)

    def _no_room(self) -> LimitReached:
        used = f"{self.processes - 1} of {self._max_processes} processes, {self.memory_bytes >> 20:,} MiB"
        fix = "retry later, or raise MODELWARD_SCORING_PROCESSES or MODELWARD_SCORING_MEMORY_MB"
        message = f"there is no room to load the model: {used} are in use; {fix}"
        return LimitReached(message, retry_seconds=RETRY_SECONDS, limit="scoring_memory")

    def _give_back(self, slot: Slot, process: WarmModel, asked: float, rows: int) -> None:
        """Let the next call have a process; one that has not answered settles first."""
        if process.is_idle:
            self._answered(slot, process, asked, rows)
        else:
            self._in_background(self._settle(slot, process, asked, rows))

    async def _settle(self, slot: Slot, process: WarmModel, asked: float, rows: int) -> None:
        await process.settle()
        self._answered(slot, process, asked, rows)

    def _answered(self, slot: Slot, process: WarmModel, asked: float, rows: int) -> None:
        slot.note_call(asked, rows)
        if process.has_ended:
            slot.processes -= 1
            self._memory.pop(process, None)
            if slot.waiting and not slot.processes:
                self._begin(slot)
            self._forget_unused(slot)
        else:
            self._memory[process] = process.memory_bytes
            slot.give(process)
            if self.memory_bytes > self._max_bytes:
                self._in_background(self._make_room_for_grown(slot))

    async def _make_room_for_grown(self, slot: Slot) -> None:
        """End models that are not in use, as far as there are any, for one that needs more memory than when loaded."""
        with suppress(LimitReached):
            async with self._room:
                await self._make_room(slot, 0, self.memory_bytes - self._max_bytes)

    def _forget_unused(self, slot: Slot) -> None:
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


def _check_waiting(slot: Slot, version: ModelVersion, rows: int, seconds: float | None) -> None:
    """Refuse a call that would wait too long.

    Raises:
        LimitReached: too many calls wait, or its time would not suffice.
    """
    if len(slot.waiting) >= MAX_WAITING:
        message = f"{MAX_WAITING} calls wait for {version}; retry later"
        raise LimitReached(message, retry_seconds=RETRY_SECONDS, limit="scoring_queue")
    expected = slot.expected_seconds(rows)
    if seconds is not None and expected > seconds:
        message = f"{version} would answer in about {expected:.3g} s, but the call has {seconds:.3g} s left"
        raise LimitReached(message, retry_seconds=expected, limit="scoring_queue")


def _too_late(version: ModelVersion, seconds: float) -> LimitReached:
    message = f"no process of {version} was free within the {seconds:.3g} s that the call had"
    return LimitReached(message, retry_seconds=RETRY_SECONDS, limit="scoring_queue")

"""A model that is kept loaded in a sandboxed process of its own, and predicts whatever it is given."""

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np

from modelward.errors import InvalidField, ModelFailed
from modelward.lifecycle import ModelVersion
from modelward_server.sandbox.answers import (
    MAX_ARRAY_BYTES,
    MAX_CLASSES,
    ModelProcessError,
    describe_exit,
    failure_text,
    libraries,
    numbers,
    object_of,
    seconds,
)
from modelward_server.sandbox.sandbox import Described, Limits, Run, described, write_job
from modelward_server.sandbox.sandbox_process import ModelProcess, start_process
from modelward_server.sandbox.score_answer import Answer, Answers
from modelward_server.sandbox.score_request import Rows
from modelward_server.sandbox.scratch import job_folder

LIFETIME_SECONDS = 10_000_000.0
"""The processor time of such a process is limited to that of all cores for so long; then another one is started."""


ModelKey = str


@dataclass(frozen=True)
class LoadedModel:
    """What is loaded.

    Attributes:
        version: the version.
        file: the SHA-256 of the file that holds its model.
        names: the columns of its reference, in order.
        example: rows of its reference as an Arrow stream, which it predicts to warm up; empty for none.
    """

    version: ModelVersion
    file: str
    names: tuple[str, ...]
    example: bytes

    @cached_property
    def key(self) -> "ModelKey":
        """What one process can answer for: the same files, taken in the same way."""
        version = self.version
        signature = version.signature.to_dict() if version.signature else None
        known = version.digest, self.file, str(version.format), signature, self.names
        return json.dumps(known)  # Text, because it keeps its hash, which each call needs.


class WarmModel:
    """One process; it predicts for one call at a time."""

    def __init__(self, process: ModelProcess, limits: Limits, stack: AsyncExitStack) -> None:
        self._process = process
        self._limits = limits
        self._stack = stack
        self.memory_bytes = 0
        """The memory that it needs in addition to what it shares with other processes, as it says itself."""
        self.is_idle = True
        """Whether it has answered all that it was asked."""
        self.is_broken = False
        """Whether it is of no use any more, but has not been ended."""
        self.has_ended = False
        self._libraries: tuple[str, ...] = ()
        self._until = 0.0
        self._last: tuple[bytes, int, Described] | None = None

    @classmethod
    async def start(cls, model: LoadedModel, file: Path, limits: Limits) -> "WarmModel":
        """Start a process, load the model from a file and let it predict once.

        Raises:
            ModelProcessError: it did not load, or exceeded a limit.
            StoreUnavailable: no process could be started.
        """
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(job_folder())
            arguments = model.version, file, model.example, limits, LIFETIME_SECONDS, model.names
            await asyncio.to_thread(write_job, folder, *arguments)
            process = await stack.enter_async_context(start_process(model.version.format, "score", folder))
            warm = cls(process, limits, stack)
            await warm._begin()
            warm._stack = stack.pop_all()
            return warm

    async def _begin(self) -> None:
        try:
            async with asyncio.timeout(self._limits.seconds):
                answer = await self._process.answer()
            if "wrong_data" in answer or answer.get("ready") is not True:
                raise ModelProcessError(failure_text(answer.get("wrong_data") or answer.get("failure")))
            [memory] = numbers(answer.get("memory_bytes"), "memory_bytes")
            self.memory_bytes = int(memory)
            self._libraries = libraries(answer.get("libraries"))
        except TimeoutError:
            raise ModelProcessError(_late(self._limits.seconds)) from None
        self._answers = Answers(cast(asyncio.Transport, self._process.writer.transport))

    async def predict(
        self, version: ModelVersion, rows: Rows, field: str, seconds_left: float | None
    ) -> tuple[Run, float]:
        """Predict rows. If it is cancelled or the process fails, `settle` must follow before anything else.

        Args:
            version: the version that is asked, for errors: it has the files that are loaded, as others may.
            rows: the rows.
            field: the field of the request that holds them, for errors.
            seconds_left: the time that the call has; None for any.

        Returns:
            The predictions, and the time in which the model made them, in seconds.

        Raises:
            InvalidField: a column is missing.
            ModelFailed: the model raised; or it crashed, was too slow or gave an invalid answer.
        """
        limit = self._limits.seconds if seconds_left is None else min(self._limits.seconds, seconds_left)
        request = rows.request
        self.is_idle, self._until = False, asyncio.get_running_loop().time() + limit
        try:
            self._answers.ask(request, _array_bytes(rows.count))
            result = self._result(await self._answer(), version, rows.count, field)
        except TimeoutError:
            raise self._broken(version, _late(limit)) from None
        except ModelProcessError as error:
            raise self._broken(version, str(error)) from None
        except (ModelFailed, InvalidField):
            self.is_idle = True  # It has answered, and can go on.
            raise
        self.is_idle = True
        return result

    async def _answer(self) -> Answer:
        async with asyncio.timeout_at(self._until):
            answer = await self._answers.answer()
            if answer is None:
                raise ModelProcessError(describe_exit(await self._process.ended()))
            return answer

    def _result(self, answer: Answer, version: ModelVersion, rows: int, field: str) -> tuple[Run, float]:
        form = self._described(answer.text, version, rows, field)
        shape = rows, len(form.classes) if form.has_probabilities else 0
        if answer.arrays.nbytes != 8 * rows * (1 + shape[1]):
            raise ModelProcessError("answered with more or fewer numbers than it declared")
        predicted = np.frombuffer(answer.arrays[: 8 * rows], form.dtype)
        sure = np.frombuffer(answer.arrays[8 * rows :]).reshape(shape) if form.has_probabilities else None
        try:
            run = form.run(predicted, sure)
        except ModelProcessError as error:  # The answer is whole and only its numbers are wrong: the process can go on.
            raise failed(version, str(error)) from None
        self.memory_bytes = int(numbers(answer.memory_bytes, "memory_bytes")[0])
        return replace(run, libraries=self._libraries), seconds(answer.seconds, "seconds")[0]

    def _described(self, text: bytes, version: ModelVersion, rows: int, field: str) -> Described:
        """Return what an answer says of its arrays, which is mostly what the one before has said of as many rows."""
        if self._last and self._last[:2] == (text, rows):
            return self._last[2]
        answer = object_of(text)
        if "failure" in answer:
            raise failed(version, failure_text(answer["failure"]))
        form = described(answer, version, rows, field)
        self._last = text, rows, form
        return form

    def _broken(self, version: ModelVersion, why: str) -> ModelFailed:
        """Return the error of a call whose process cannot go on."""
        self.is_broken = True
        return failed(version, why)

    async def settle(self) -> None:
        """Let the process finish what it was asked, or end it if it does not in its time or is broken."""
        with suppress(TimeoutError, ModelProcessError):
            if not self.is_broken:
                await self._answer()
                self.is_idle = True
                return
        await self.end()

    async def end(self) -> None:
        """End the process and remove its files."""
        self.has_ended = True
        await self._stack.aclose()

    @property
    def has_died(self) -> bool:
        """Whether the process has ended by itself, or was killed from outside."""
        return self._answers.have_ended


def failed(version: ModelVersion, why: str) -> ModelFailed:
    """Return the error of a call to a version."""
    return ModelFailed(f"{version} {why}", model=version.model, version=version.version)


def _late(limit: float) -> str:
    return f"was stopped after {limit:.3g} s, the time that it had"


def _array_bytes(rows: int) -> int:
    """Return the maximum size of the arrays of an answer: predictions, and probabilities of all classes."""
    return min(8 * rows * (1 + MAX_CLASSES), MAX_ARRAY_BYTES)

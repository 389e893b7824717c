"""A model that is kept loaded in a sandboxed process of its own, and predicts whatever it is given."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from modelward.data import Columns
from modelward.errors import InvalidField, ModelFailed
from modelward.lifecycle import ModelVersion
from modelward_server.sandbox.answers import ModelProcessError, failure_text, libraries, numbers, seconds
from modelward_server.sandbox.sandbox import Limits, Run, read_predictions, write_job
from modelward_server.sandbox.sandbox_process import ModelProcess, start_process
from modelward_server.sandbox.score_request import encoded
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

    def __init__(self, process: ModelProcess, model: LoadedModel, limits: Limits, stack: AsyncExitStack) -> None:
        self._process = process
        self._model = model
        self._limits = limits
        self._stack = stack
        self.memory_bytes = 0
        """The memory that it needs in addition to what it shares with other processes, as it says itself."""
        self.has_ended = False
        self._libraries: tuple[str, ...] = ()

    @classmethod
    async def start(cls, model: LoadedModel, file: Path, limits: Limits) -> "WarmModel":
        """Start a process, load the model from a file and let it predict once.

        Raises:
            ModelFailed: it did not load, or exceeded a limit.
            StoreUnavailable: no process could be started.
        """
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(job_folder())
            arguments = model.version, file, model.example, limits, LIFETIME_SECONDS, model.names
            await asyncio.to_thread(write_job, folder, *arguments)
            process = await stack.enter_async_context(start_process(model.version.format, "score", folder))
            warm = cls(process, model, limits, stack)
            await warm._begin()
            warm._stack = stack.pop_all()
            return warm

    async def _begin(self) -> None:
        async with self._ending_on_failure():
            answer = await self._process.answer()
            if "wrong_data" in answer or answer.get("ready") is not True:
                raise ModelProcessError(failure_text(answer.get("wrong_data") or answer.get("failure")))
            [memory] = numbers(answer.get("memory_bytes"), "memory_bytes")
            self.memory_bytes = int(memory)
            self._libraries = libraries(answer.get("libraries"))

    async def predict(self, columns: Columns, field: str, seconds_left: float | None) -> tuple[Run, float]:
        """Predict rows; no other call may be running.

        Args:
            columns: the rows.
            field: the field of the request that holds them, for errors.
            seconds_left: the time that the call has; None for any.

        Returns:
            The predictions, and the time in which the model made them, in seconds.

        Raises:
            InvalidField: a column is missing.
            ModelFailed: the model raised; or it crashed, was too slow or gave an invalid answer, and has ended.
        """
        rows = len(next(iter(columns.values())))
        request = encoded(columns)
        async with self._ending_on_failure(seconds_left):
            self._process.writer.write(request)
            await self._process.writer.drain()
            answer = await self._process.answer()
            if "failure" in answer:  # The model raised, and can go on.
                raise self.failed(failure_text(answer["failure"]))
            run = await read_predictions(self._process, answer, self.version, rows, field)
            self.memory_bytes = int(numbers(answer.get("memory_bytes"), "memory_bytes")[0])
            return replace(run, libraries=self._libraries), seconds(answer.get("seconds"), "seconds")[0]

    @asynccontextmanager
    async def _ending_on_failure(self, seconds_left: float | None = None) -> AsyncIterator[None]:
        """End the process unless it has answered: what it says later must not answer another call."""
        limit = self._limits.seconds if seconds_left is None else min(self._limits.seconds, seconds_left)
        try:
            async with asyncio.timeout(limit):
                yield
        except (ModelFailed, InvalidField):
            raise
        except (TimeoutError, ModelProcessError, OSError) as error:
            await self.end()
            late = f"was stopped after {limit:.3g} s, the time that it had"
            raise self.failed(str(error) if isinstance(error, ModelProcessError) else late) from None
        except BaseException:
            await self.end()
            raise

    async def end(self) -> None:
        """End the process and remove its files."""
        self.has_ended = True
        await self._stack.aclose()

    @property
    def version(self) -> ModelVersion:
        """The version that it was started for."""
        return self._model.version

    def failed(self, why: str) -> ModelFailed:
        """Return the error of a call."""
        return ModelFailed(f"{self.version} {why}", model=self.version.model, version=self.version.version)

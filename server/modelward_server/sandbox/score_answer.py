"""How a process that keeps a model loaded answers, and how its answers are received.

An answer is `HEADER`, JSON text and the bytes of the arrays whose shapes are in the text.
"""

import asyncio
import struct
from typing import NamedTuple

from modelward_server.sandbox.answers import MAX_LINE_BYTES, ModelProcessError

HEADER = struct.Struct("<QQQd")
"""The bytes of the text and of the arrays, the memory that the process needs, and the seconds that the model took."""


class Answer(NamedTuple):
    """What a process answers; nothing of it has been checked but the sizes."""

    text: bytes
    arrays: memoryview
    memory_bytes: int
    seconds: float


class Answers(asyncio.Protocol):
    """Receives the answers of a process, which are untrusted: no more is kept than was asked for.

    What waits for an answer may give up, and something else may then wait for the same answer: none is taken in part.

    Args:
        transport: the connection to the process, from which nothing else reads any more.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._received = bytearray()
        self._most = 0
        self._waiting: asyncio.Future[None] | None = None
        self.have_ended = False
        """Whether none comes any more: the process has ended."""
        transport.set_protocol(self)

    def ask(self, request: bytes, array_bytes: int) -> None:
        """Send a request.

        Args:
            request: the request.
            array_bytes: the maximum size of the arrays of its answer.

        Raises:
            ModelProcessError: the process has sent something before it was asked.
        """
        if self._received:
            raise ModelProcessError("answered before it was asked")
        self._most = HEADER.size + MAX_LINE_BYTES + array_bytes
        self._transport.write(request)

    async def answer(self) -> Answer | None:
        """Return the answer to the last request; None if the process ends without one.

        Raises:
            ModelProcessError: it is larger than it may be, or there is more than one.
        """
        while not self._is_whole():
            if self._is_too_large():
                raise ModelProcessError(f"answered with more than {self._most:,} bytes")
            if self.have_ended:
                return None
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self._taken()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._is_too_large():
            self._transport.pause_reading()
        if self._is_too_large() or self._is_whole():
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.have_ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)

    def _is_too_large(self) -> bool:
        return len(self._received) > self._most

    def _is_whole(self) -> bool:
        if len(self._received) < HEADER.size:
            return False
        text, arrays, _, _ = HEADER.unpack_from(self._received)
        return len(self._received) >= HEADER.size + int(text) + int(arrays)

    def _taken(self) -> Answer:
        received, self._received, self._most = bytes(self._received), bytearray(), 0
        text, arrays, memory, seconds = HEADER.unpack_from(received)
        begin = HEADER.size + text
        if len(received) != begin + arrays or text > MAX_LINE_BYTES:
            raise ModelProcessError("answered with more than it was asked for")
        return Answer(received[HEADER.size : begin], memoryview(received)[begin:], memory, seconds)

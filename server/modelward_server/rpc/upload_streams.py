"""Limits of upload streams: how many may be open, and how long one may be silent."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

from modelward_server.interceptors.client_id import Context, client_of
from modelward_server.runtime.admission import Admission
from modelward_server.runtime.silence import within_silence

Part = TypeVar("Part")

MAX_UPLOADS, MAX_UPLOADS_OF_CLIENT = 512, 256
"""Maximum number of open uploads of files and tables, and of those of one client; each takes some hundred kilobytes."""


class Uploads:
    """The open uploads of files and tables.

    Args:
        max_silence: maximum time in seconds without a message.
    """

    def __init__(self, max_silence: float) -> None:
        self._max_silence = max_silence
        self._admission = Admission("uploads", "uploads", MAX_UPLOADS, MAX_UPLOADS_OF_CLIENT)

    @property
    def open(self) -> int:
        """Number of open uploads."""
        return self._admission.open

    @asynccontextmanager
    async def admit(self, parts: AsyncIterator[Part], context: Context) -> AsyncIterator[AsyncIterator[Part]]:
        """Admit an upload of a client and yield its parts.

        Raises:
            LimitReached: the maximum number of uploads is open, of the client or in all.
            DeadlineExceeded: while the parts are read, when none arrived for too long.
        """
        with self._admission.admit(client_of(context)):
            async with aclosing(within_silence(parts, self._max_silence)) as coming:
                yield coming

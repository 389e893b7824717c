"""Uploads of files and large tables."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from modelward._async.connection import AsyncConnection
from modelward._transfers import describe_file, late_arrival, rest_of, upload_header, upload_parts
from modelward.errors import FieldViolation, InvalidField, ModelwardError
from modelward.shared.model_files import Saved, save_tables
from modelward.shared.retry import Attempts
from modelward.v1.common_pb2 import Dataset


class AsyncUploading(AsyncConnection):
    """Uploads content, each blob once, resuming where the last attempt was interrupted."""

    async def _upload(self, saved: Saved, timeout: float | None) -> None:
        """Upload the blobs that the server lacks; after an interruption ask again, and resume."""
        attempts = Attempts(self._timeout if timeout is None else timeout)
        while True:
            try:
                return await self._upload_once(saved, attempts)
            except ModelwardError as error:
                pause = attempts.pause_before_next(error)
            await asyncio.sleep(pause)

    async def _upload_once(self, saved: Saved, attempts: Attempts) -> None:
        headers = map(upload_header, saved.files)
        answer = await self._send_once(self._lifecycle.UploadBlobs, headers, attempts)
        rest = rest_of(saved.files, answer)
        if rest:
            parts = upload_parts(saved.folder, rest)
            try:
                await self._send_once(self._lifecycle.UploadBlobs, parts, attempts)
            except InvalidField as error:
                raise (late_arrival(error) or error) from None

    async def _upload_tables(self, tables: Iterable[Dataset], timeout: float | None) -> None:
        """Upload tables that are too large for a message, and replace them in the message by their digests."""
        with TemporaryDirectory() as folder:
            saved = await asyncio.to_thread(save_tables, tables, folder)
            if saved.files:
                await self._upload(saved, timeout)

    async def _upload_file(self, argument: str, path: Path, timeout: float | None) -> str:
        """Upload a file, and return its digest.

        Args:
            argument: the name of the argument that it was given as.
            path: the file.
            timeout: seconds for the upload; those of the client by default.

        Raises:
            InvalidField: it cannot be read.
        """
        try:
            file = await asyncio.to_thread(describe_file, path, path.name)
        except OSError as error:
            raise InvalidField(FieldViolation(argument, f"{path} cannot be read: {error.strerror}")) from None
        await self._upload(Saved(path.parent, (file,), "", {}), timeout)
        return file.sha256

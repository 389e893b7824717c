"""Forms with a file: read from a bounded stream, the file into a temporary one."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from modelward.errors import FieldViolation, InvalidField, MessageTooLarge
from modelward_server.console.guard import MAX_FORM_BYTES
from modelward_server.runtime.silence import within_silence

MAX_UPLOAD_BYTES = 64 << 20
"""Of a form with its file; larger tables are read by the server from a URI."""
MAX_DISCARDED_BYTES = 8 * MAX_UPLOAD_BYTES
"""Of a form that is too large so much is read and discarded: a browser shows the answer only after it has sent all."""
SILENCE_SECONDS = 60.0
"""An upload that sends nothing for so long is ended."""
MAX_FIELDS = 100
TOO_LARGE = (
    f"The file is larger than {MAX_UPLOAD_BYTES >> 20} MiB, the most that the console takes. Place it where the server "
    "may read it and give its URI, or compare by command."
)


@dataclass(frozen=True)
class UploadForm:
    """The fields of a form, some of them several times, and its file."""

    fields: FormData
    file: UploadFile | None
    """None where no file was chosen."""

    def text(self, name: str) -> str:
        """Return a field without spaces around it; empty where it is absent."""
        value = self.fields.get(name, "")
        return value.strip() if isinstance(value, str) else ""

    def texts(self, name: str) -> list[str]:
        """Return every value of a field."""
        return [value for value in self.fields.getlist(name) if isinstance(value, str)]


async def upload_form_of(request: Request) -> UploadForm:
    """Return a form with at most one file, which `fields.close()` deletes.

    Raises:
        MessageTooLarge: it is larger than `MAX_UPLOAD_BYTES`.
        DeadlineExceeded: nothing arrived for `SILENCE_SECONDS`.
        InvalidField: it is not such a form.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidField(FieldViolation("form", "is not the fields of a form with a file"))
    parser = MultiPartParser(
        request.headers, _bounded(request), max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FORM_BYTES
    )
    try:
        fields = await parser.parse()
    except (MultiPartException, UnicodeError, LookupError) as error:
        why = error.message if isinstance(error, MultiPartException) else "its encoding is not that which it names"
        raise InvalidField(FieldViolation("form", f"cannot be read: {why}")) from None
    file = next((value for _, value in fields.multi_items() if isinstance(value, UploadFile)), None)
    return UploadForm(fields, file if file is not None and (file.filename or file.size) else None)


async def _bounded(request: Request) -> AsyncGenerator[bytes, None]:
    size = 0
    async with aclosing(within_silence(request.stream(), SILENCE_SECONDS)) as parts:
        async for part in parts:
            size += len(part)
            if size > MAX_DISCARDED_BYTES:
                break
            if size <= MAX_UPLOAD_BYTES:
                yield part
    if size > MAX_UPLOAD_BYTES:
        raise MessageTooLarge(TOO_LARGE)

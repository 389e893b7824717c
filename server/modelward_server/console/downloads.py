"""Downloads: sent while they are read, so that their size does not matter."""

import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.responses import Response, StreamingResponse

from modelward.shared.csv_cells import harmless
from modelward.shared.json_values import to_json

PART_CHARACTERS = 50_000
"""About the length of the parts that are sent at once."""


async def download(parts: AsyncIterator[str | bytes], media_type: str, name: str) -> Response:
    """Return the answer that sends a file; a failure of its beginning is raised, a later one breaks the connection.

    Args:
        parts: the file's content.
        media_type: its type.
        name: the name under which a browser keeps it.
    """
    beginning = await anext(parts, "")

    async def whole() -> AsyncIterator[str | bytes]:
        yield beginning
        async for part in parts:
            yield part

    return StreamingResponse(
        whole(), media_type=media_type, headers={"content-disposition": f'attachment; filename="{name}"'}
    )


async def csv_lines(columns: Sequence[str], rows: AsyncIterator[Sequence[object]]) -> AsyncIterator[str]:
    """Yield CSV in parts; a text that a spreadsheet would run as a formula begins with an apostrophe.

    Args:
        columns: the names in the first line.
        rows: the cells of each further line.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    async for row in rows:
        writer.writerow([harmless(cell) if isinstance(cell, str) else cell for cell in row])
        if text.tell() > PART_CHARACTERS:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


async def json_lines(items: AsyncIterator[Any]) -> AsyncIterator[str]:
    """Yield a line of JSON for each item, in parts."""
    lines: list[str] = []
    length = 0
    async for item in items:
        lines.append(json.dumps(to_json(item)) + "\n")
        length += len(lines[-1])
        if length > PART_CHARACTERS:
            yield "".join(lines)
            lines, length = [], 0
    yield "".join(lines)

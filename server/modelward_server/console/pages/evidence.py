"""Downloads of evidence packs: of a version, and of all that is or was in production."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, time

from starlette.requests import Request

from modelward import AsyncClient
from modelward_server.console.pages.parameters import day_of, instant

DAY = len("2026-03-02")


async def of_version(client: AsyncClient, request: Request) -> AsyncIterator[bytes]:
    """Yield the pack of the version in the address, as of the day or the instant in the query.

    Raises:
        ModelNotFound, VersionNotFound: it does not exist.
        InvalidField: `as_of` is neither a day nor an instant, or not in the past.
    """
    ref = f"{request.path_params['model']}/{request.path_params['version']}"
    async for part in client.stream_evidence(ref, as_of=as_of(request)):
        yield part


async def of_production(client: AsyncClient, request: Request) -> AsyncIterator[bytes]:
    """Yield the pack of every version that is in production, or was as of `as_of`.

    Raises:
        ModelNotAllowed: the user may not reach every model.
        InvalidField: `as_of` is neither a day nor an instant, or not in the past.
    """
    async for part in client.stream_evidence(None, as_of=as_of(request)):
        yield part


def name_of_version(request: Request) -> str:
    """Return the name of the file with the pack of the version in the address."""
    return f"{request.path_params['model']}-{request.path_params['version']}.zip"


def as_of(request: Request) -> datetime | None:
    """Return the instant in the query: of a day its end, or now if that is today.

    Raises:
        InvalidField: it is neither a day nor an instant.
    """
    if len(request.query_params.get("as_of", "").strip()) != DAY:
        return instant(request, "as_of")
    day = day_of(request.query_params, "as_of")
    today = datetime.now(UTC).date()
    return datetime.combine(day, time.max, UTC) if day and day != today else None

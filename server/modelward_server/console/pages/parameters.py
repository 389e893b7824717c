"""Parameters in the addresses of pages."""

from starlette.requests import Request

from modelward import AsyncClient
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import Model, ModelVersion


async def shown_version(client: AsyncClient, model: Model, request: Request) -> ModelVersion | None:
    """Return the version in the query; by default that in production, or else the latest; None if there is none.

    Raises:
        VersionNotFound: there is no such version.
        InvalidField: `version` is not a number of a version.
    """
    number = whole_number(request, "version") or model.production_version or model.latest_version
    return await client.get_version(f"{model.name}/{number}") if number else None


def whole_number(request: Request, name: str) -> int:
    """Return a whole number of at least 0 from the query; 0 where it is absent.

    Raises:
        InvalidField: it is not such a number.
    """
    text = request.query_params.get(name, "").strip()
    if text and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise InvalidField(FieldViolation(name, f"{text[:40]!r} is not a whole number"))
    return int(text or 0)


def share(request: Request, name: str) -> float | None:
    """Return a number between 0 and 1 from the query; None where it is absent.

    Raises:
        InvalidField: it is not such a number.
    """
    text = request.query_params.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise InvalidField(FieldViolation(name, f"{text[:40]!r} is not between 0 and 1"))
    return value

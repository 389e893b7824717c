"""Parameters in the addresses of pages."""

from collections.abc import Mapping
from datetime import MAXYEAR, UTC, date, datetime, timedelta
from enum import StrEnum
from typing import TypeVar
from urllib.parse import urlencode

from starlette.requests import Request

from modelward import AsyncClient
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import Model, ModelVersion
from modelward.shared.times import parse_instant

Chosen = TypeVar("Chosen", bound=StrEnum)
MOMENT = timedelta(microseconds=1)
"""The least difference of two times of the server."""


async def shown_version(client: AsyncClient, model: Model, request: Request) -> ModelVersion | None:
    """Return the version in the query; by default that in production, or else the latest; None if there is none.

    Raises:
        VersionNotFound: there is no such version.
        InvalidField: `version` is not a number of a version.
    """
    number = whole_number(request, "version") or model.production_version or model.latest_version
    return await client.get_version(f"{model.name}/{number}") if number else None


def instant(request: Request, name: str) -> datetime | None:
    """Return an instant from the query, in UTC, which is also its zone if it names none; None where it is absent.

    Raises:
        InvalidField: it is not an instant.
    """
    return instant_of(request.query_params, name)


def instant_of(texts: Mapping[str, str], name: str) -> datetime | None:
    """Return an instant from a query or a form; see `instant`."""
    text = texts.get(name, "").strip()
    if not text:
        return None
    try:
        at = parse_instant(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidField(FieldViolation(name, f"{text!r} is not an instant such as 2026-03-02T14:31")) from None
    if at.year == MAXYEAR:
        raise InvalidField(FieldViolation(name, "is in the last year that there is"))
    return at


def day_of(texts: Mapping[str, str], name: str) -> date | None:
    """Return a day from a query or a form; None where it is absent.

    Raises:
        InvalidField: it is not a day.
    """
    text = texts.get(name, "").strip()
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise InvalidField(FieldViolation(name, f"{text[:40]!r} is not a day such as 2026-03-02")) from None


def choice_of(texts: Mapping[str, str], name: str, kind: type[Chosen]) -> Chosen | None:
    """Return one of several words from a query or a form; None where it is absent.

    Raises:
        InvalidField: it is none of them.
    """
    text = texts.get(name, "").strip()
    if text and text not in set(kind):
        raise InvalidField(FieldViolation(name, f"is none of {', '.join(kind)}"))
    return kind(text) if text else None


def query_of(fields: Mapping[str, str]) -> str:
    """Return the query of an address, without empty fields."""
    return urlencode({name: text for name, text in fields.items() if text})


def whole_number(request: Request, name: str, digits: int = 9) -> int:
    """Return a whole number of at least 0 and at most so many digits from the query; 0 where it is absent.

    Raises:
        InvalidField: it is not such a number.
    """
    return whole_number_of(request.query_params, name, digits)


def whole_number_of(texts: Mapping[str, str], name: str, digits: int = 9) -> int:
    """Return a whole number from a query or a form; see `whole_number`."""
    text = texts.get(name, "").strip()
    if text and not (text.isascii() and text.isdigit() and len(text) <= digits):
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

"""Pages of a list that stay stable while others write: a page continues behind the last key of the one before."""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import BigInteger, ColumnElement, Select, and_, or_
from sqlalchemy.orm import InstrumentedAttribute, Session

from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import Page

Row = TypeVar("Row")
DEFAULT_PAGE_SIZE = 50
INSTANT = "instant"
"""What an instant is called in a token, which is JSON."""


@dataclass(frozen=True)
class Key:
    """One column of the order; together they name a row."""

    column: InstrumentedAttribute[Any] | ColumnElement[Any]
    descending: bool = False

    def behind(self, value: object) -> ColumnElement[bool]:
        return self.column < value if self.descending else self.column > value

    def not_before(self, value: object) -> ColumnElement[bool]:
        return self.column <= value if self.descending else self.column >= value

    def may_be(self, value: object) -> bool:
        """Tell whether the column may hold a value, which stems from a token and so from anywhere."""
        kind = self.column.type.python_type
        if kind is int:
            bits = 63 if isinstance(self.column.type, BigInteger) else 31
            return type(value) is int and -(1 << bits) <= value < 1 << bits
        return _is_instant(value) if kind is datetime else _is_text(value)

    def ordering(self) -> ColumnElement[Any]:
        return self.column.desc() if self.descending else self.column.asc()


def fetch_page(
    session: Session, rows: Select[Row], keys: Sequence[Key], page_size: int, page_token: str, conditions: object
) -> Page[Row]:
    """Fetch one page of `rows` in the order of `keys`.

    Args:
        page_size: how many rows at the most; 0 means 50.
        page_token: the `next_page_token` of the page before, or empty.
        conditions: what the list was asked with; a token holds only for the conditions that it was given for.

    Raises:
        InvalidField: the token is not one of this list's.
    """
    wanted = PageRequest(keys, page_size, page_token, conditions)
    return wanted.page(session.scalars(wanted.limit(rows, keys)).all())


class PageRequest:
    """Which page of which list is asked for; the arguments are those of `fetch_page`."""

    def __init__(self, keys: Sequence[Key], page_size: int, page_token: str, conditions: object) -> None:
        self._keys, self._conditions = keys, conditions
        self._size = page_size or DEFAULT_PAGE_SIZE
        self._last = _decode(page_token, conditions, self._names_a_row) if page_token else None

    def _names_a_row(self, last: Sequence[object]) -> bool:
        return len(last) == len(self._keys) and all(map(Key.may_be, self._keys, last))

    def limit(self, rows: Select[Row], keys: Sequence[Key]) -> Select[Row]:
        """Limit `rows` to the page and one more, in the order of `keys`, which stand for those of the list."""
        if self._last is not None:
            rows = rows.where(_behind(keys, self._last))
        return rows.order_by(*(key.ordering() for key in keys)).limit(self._size + 1)

    def page(self, found: Sequence[Row]) -> Page[Row]:
        """Make the page of what was found so."""
        page = tuple(found[: self._size])
        if len(found) <= self._size:
            return Page(page, "")
        return Page(page, _encode([getattr(page[-1], str(key.column.key)) for key in self._keys], self._conditions))


def slice_page(
    items: Sequence[Row], key: Callable[[Row], list[Any]], page_size: int, page_token: str, conditions: object
) -> Page[Row]:
    """Cut one page out of a list that no single query gives, as `fetch_page` does.

    Args:
        items: the whole list, in the order of `key`.
        key: what names an item and says where it stands: texts.

    Raises:
        InvalidField: the token is not one of this list's.
    """
    size = page_size or DEFAULT_PAGE_SIZE
    last = _decode(page_token, conditions, lambda last: all(map(_is_text, last))) if page_token else None
    behind = [item for item in items if last is None or key(item) > last]
    page = tuple(behind[:size])
    return Page(page, _encode(key(page[-1]), conditions) if len(behind) > size else "")


def take_page(
    behind: Callable[[datetime | None], Iterable[Row]],
    key: Callable[[Row], datetime],
    page_size: int,
    page_token: str,
    conditions: object,
) -> Page[Row]:
    """Take one page out of a list that is made as it is read, as `fetch_page` does.

    Args:
        behind: gives the items behind an instant, all of them for None.
        key: the instant that names an item and says where it stands.

    Raises:
        InvalidField: the token is not one of this list's.
    """
    size = page_size or DEFAULT_PAGE_SIZE
    last = (
        _decode(page_token, conditions, lambda last: list(map(_is_instant, last)) == [True]) if page_token else [None]
    )
    found = list(islice(behind(last[0]), size + 1))
    page = tuple(found[:size])
    return Page(page, _encode([key(page[-1])], conditions) if len(found) > size else "")


def starts_with(column: ColumnElement[str] | InstrumentedAttribute[str], prefix: str) -> ColumnElement[bool]:
    """Express that a name of ASCII characters starts so; as a range, which an index serves and LIKE does not."""
    return and_(column >= prefix, column < prefix + "\x7f")


def _behind(keys: Sequence[Key], last: Sequence[object]) -> ColumnElement[bool]:
    """Express that a row comes after `last` in lexicographic order."""
    steps = (
        and_(*(k.column == v for k, v in zip(keys[:i], last[:i], strict=True)), key.behind(last[i]))
        for i, key in enumerate(keys)
    )
    # The first term says nothing new: it is the range in which an index begins, which it does not for an OR.
    return and_(keys[0].not_before(last[0]), or_(*steps))


def _encode(last: list[Any], conditions: object) -> str:
    plain = [value.astimezone(UTC) if isinstance(value, datetime) else value for value in last]
    content = json.dumps([_seal(plain, conditions), *plain], default=lambda instant: {INSTANT: instant.isoformat()})
    return urlsafe_b64encode(content.encode()).decode()


def _decode(token: str, conditions: object, fits: Callable[[list[Any]], bool]) -> list[Any]:
    """Return what a token says; `fits` tells whether that can be of this list."""
    last: list[Any]
    try:
        content = urlsafe_b64decode(token.encode())
        seal, *last = json.loads(content, object_hook=lambda found: datetime.fromisoformat(found[INSTANT]))
    except (ValueError, TypeError, KeyError, RecursionError):
        seal, last = "", []
    if seal != _seal(last, conditions) or not fits(last):
        raise InvalidField(
            FieldViolation(
                "page_token", "is not a token of this list; send the last next_page_token and the same filters"
            )
        )
    return last


def _is_instant(value: object) -> bool:
    return isinstance(value, datetime) and value.utcoffset() == timedelta(0)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not any(
        character == "\0" or "\ud800" <= character <= "\udfff" for character in value
    )


def _seal(last: list[Any], conditions: object) -> str:
    """Tie a token to the list that it was given for, so that a mangled one is refused and not misread."""
    return hashlib.sha256(repr((conditions, last)).encode()).hexdigest()[:16]

"""Keyset pagination, stable under concurrent writes: a page continues after the last key of the previous one."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from sqlalchemy import ColumnElement, Select, and_, or_, true
from sqlalchemy.orm import InstrumentedAttribute, Session

from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import Page
from modelward.shared.json_values import to_json
from modelward_server import identity
from modelward_server.storage.security_tables import KeyRow

Row = TypeVar("Row")
DEFAULT_PAGE_SIZE = 50
TIMESTAMP = "instant"
"""The key that marks a timestamp in a token, which is encrypted JSON."""
TOKEN_BYTES = 64
"""Token contents are padded to a multiple of this size, so that the length reveals little about a name in it."""
PAGE_TOKENS = "page_tokens"
"""Name of the key that encrypts tokens: all servers of a ledger share it."""


@dataclass(frozen=True)
class Key:
    """One column of the sort order; all of them together identify a row."""

    column: InstrumentedAttribute[Any] | ColumnElement[Any]
    descending: bool = False

    def after(self, value: object) -> ColumnElement[bool]:
        return self.column < value if self.descending else self.column > value

    def at_or_after(self, value: object) -> ColumnElement[bool]:
        return self.column <= value if self.descending else self.column >= value

    def ordering(self) -> ColumnElement[Any]:
        return self.column.desc() if self.descending else self.column.asc()


def fetch_page(
    session: Session, rows: Select[Row], keys: Sequence[Key], page_size: int, page_token: str, conditions: object
) -> Page[Row]:
    """Fetch one page of `rows` in the order of `keys`; rows of models only where the client may see the model.

    Args:
        page_size: maximum number of rows; 0 means 50.
        page_token: the `next_page_token` of the previous page, or empty.
        conditions: the filters of the list; a token is valid only for the filters that it was issued for.

    Raises:
        InvalidField: the token does not belong to this list.
    """
    model = getattr(rows.column_descriptions[0]["entity"], "model", None)
    if model is not None:
        rows = rows.where(is_visible(model))
    request = PageRequest(session, keys, page_size, page_token, conditions)
    return request.page(session.scalars(request.limit(rows, keys)).all())


def all_items(page_of: Callable[[str], Page[Row]]) -> Iterator[Row]:
    """Yield the items of all pages.

    Args:
        page_of: fetches the page of a token.
    """
    token, is_last = "", False
    while not is_last:
        page = page_of(token)
        yield from page.items
        token, is_last = page.next_page_token, not page.next_page_token


class PageRequest:
    """The requested page of a list; the arguments are those of `fetch_page`."""

    def __init__(
        self, session: Session, keys: Sequence[Key], page_size: int, page_token: str, conditions: object
    ) -> None:
        self._keys, self._tokens = keys, _Tokens(session, conditions)
        self._size = page_size or DEFAULT_PAGE_SIZE
        self._last = self._tokens.read(page_token)

    def limit(self, rows: Select[Row], keys: Sequence[Key]) -> Select[Row]:
        """Limit `rows` to the page and one more, in the order of `keys`, which correspond to those of the list."""
        if self._last is not None:
            rows = rows.where(_after(keys, self._last))
        return rows.order_by(*(key.ordering() for key in keys)).limit(self._size + 1)

    def page(self, rows: Sequence[Row]) -> Page[Row]:
        """Return the page of the rows that the limited query returned."""
        page = tuple(rows[: self._size])
        if len(rows) <= self._size:
            return Page(page, "")
        return Page(page, self._tokens.make([getattr(page[-1], str(key.column.key)) for key in self._keys]))


def slice_page(
    session: Session,
    items: Sequence[Row],
    key: Callable[[Row], list[Any]],
    page_size: int,
    page_token: str,
    conditions: object,
) -> Page[Row]:
    """Return one page of a list that no single query gives; see `fetch_page`.

    Args:
        items: the whole list, in the order of `key`.
        key: returns the values, serializable as JSON, that identify an item and define the order.

    Raises:
        InvalidField: the token does not belong to this list.
    """
    size = page_size or DEFAULT_PAGE_SIZE
    tokens = _Tokens(session, conditions)
    last = tokens.read(page_token)
    begin = 0 if last is None else bisect_right(items, last, key=key)
    page = tuple(items[begin : begin + size])
    return Page(page, tokens.make(key(page[-1])) if len(items) > begin + size else "")


def lazy_page(
    session: Session,
    after: Callable[[datetime | None], Iterable[Row]],
    key: Callable[[Row], datetime],
    page_size: int,
    page_token: str,
    conditions: object,
) -> Page[Row]:
    """Return one page of a list that is generated as it is read; see `fetch_page`.

    Args:
        after: yields the items after a timestamp, all of them for None.
        key: returns the timestamp that identifies an item and defines the order.

    Raises:
        InvalidField: the token does not belong to this list.
    """
    size = page_size or DEFAULT_PAGE_SIZE
    tokens = _Tokens(session, conditions)
    last = tokens.read(page_token)
    items = list(islice(after(last[0] if last else None), size + 1))
    page = tuple(items[:size])
    return Page(page, tokens.make([key(page[-1])]) if len(items) > size else "")


def starts_with(column: ColumnElement[str] | InstrumentedAttribute[str], prefix: str) -> ColumnElement[bool]:
    """Return the condition that an ASCII name starts with a prefix; as a range, which unlike LIKE can use an index."""
    return and_(column >= prefix, column < prefix + "\x7f")


def is_visible(model: ColumnElement[str] | InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Return the condition that the client may see a model; always true for a client without restriction."""
    prefixes = visible_prefixes()
    return or_(*(starts_with(model, prefix) for prefix in prefixes)) if prefixes else true()


def is_listed(model: ColumnElement[str] | InstrumentedAttribute[str], prefix: str) -> ColumnElement[bool]:
    """Return the condition that the client may see a model whose name starts with a prefix; empty for any name."""
    return and_(is_visible(model), starts_with(model, prefix)) if prefix else is_visible(model)


def visible_prefixes() -> tuple[str, ...]:
    """Return the name prefixes of the models that the client may see; empty for all."""
    client = identity.current.get()
    return client.models if client else ()


def _after(keys: Sequence[Key], last: Sequence[object]) -> ColumnElement[bool]:
    """Return the condition that a row follows `last` in lexicographic order."""
    steps = (
        and_(*(k.column == v for k, v in zip(keys[:i], last[:i], strict=True)), key.after(last[i]))
        for i, key in enumerate(keys)
    )
    # The first term is redundant: it is a range with which an index scan can start, unlike with an OR.
    return and_(keys[0].at_or_after(last[0]), or_(*steps))


class _Tokens:
    """Creates and reads the page tokens of one list.

    A token holds the key after which a page continues, which may be of a model that its holder may not see. So it is
    encrypted, and bound to the list that it was issued for: a forged or foreign token is refused, not misread.
    """

    def __init__(self, session: Session, conditions: object) -> None:
        self._session = session
        self._list = json.dumps(to_json(conditions)).encode()

    def make(self, last: list[Any]) -> str:
        content = json.dumps(last, default=lambda at: {TIMESTAMP: at.astimezone(UTC).isoformat()}).encode()
        padded = content.ljust(-(-len(content) // TOKEN_BYTES) * TOKEN_BYTES)
        return urlsafe_b64encode(self._cipher.encrypt(padded, [self._list])).decode()

    def read(self, token: str) -> list[Any] | None:
        """Return the key in a token; None for no token.

        Raises:
            InvalidField: it does not belong to this list.
        """
        if not token:
            return None
        try:
            content = self._cipher.decrypt(urlsafe_b64decode(token.encode()), [self._list])
        except (ValueError, InvalidTag):
            fix = "is not a token of this list; send the last next_page_token and the same filters"
            raise InvalidField(FieldViolation("page_token", fix)) from None
        last: list[Any] = json.loads(content, object_hook=lambda value: datetime.fromisoformat(value[TIMESTAMP]))
        return last

    @property
    def _cipher(self) -> AESSIV:
        # Deterministic encryption: replicas would otherwise have to agree on nonces.
        return AESSIV(self._session.get_one(KeyRow, PAGE_TOKENS).key)

"""Pages of a list that stay stable while others write: a page continues behind the last key of the one before."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
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
from modelward_server import identity
from modelward_server.storage.security_tables import KeyRow

Row = TypeVar("Row")
DEFAULT_PAGE_SIZE = 50
INSTANT = "instant"
"""What an instant is called in a token, which is encrypted JSON."""
TOKEN_BYTES = 64
"""What the content of a token is filled up to a multiple of, so that its length tells little of a name in it."""
PAGE_TOKENS = "page_tokens"
"""The name of the key that encrypts tokens: all servers of a ledger share it."""


@dataclass(frozen=True)
class Key:
    """One column of the order; together they name a row."""

    column: InstrumentedAttribute[Any] | ColumnElement[Any]
    descending: bool = False

    def behind(self, value: object) -> ColumnElement[bool]:
        return self.column < value if self.descending else self.column > value

    def not_before(self, value: object) -> ColumnElement[bool]:
        return self.column <= value if self.descending else self.column >= value

    def ordering(self) -> ColumnElement[Any]:
        return self.column.desc() if self.descending else self.column.asc()


def fetch_page(
    session: Session, rows: Select[Row], keys: Sequence[Key], page_size: int, page_token: str, conditions: object
) -> Page[Row]:
    """Fetch one page of `rows` in the order of `keys`; where these are of models, only of those of the caller.

    Args:
        page_size: how many rows at the most; 0 means 50.
        page_token: the `next_page_token` of the page before, or empty.
        conditions: what the list was asked with; a token holds only for the conditions that it was given for.

    Raises:
        InvalidField: the token is not one of this list's.
    """
    model = getattr(rows.column_descriptions[0]["entity"], "model", None)
    if model is not None:
        rows = rows.where(is_own(model))
    wanted = PageRequest(session, keys, page_size, page_token, conditions)
    return wanted.page(session.scalars(wanted.limit(rows, keys)).all())


class PageRequest:
    """Which page of which list is asked for; the arguments are those of `fetch_page`."""

    def __init__(
        self, session: Session, keys: Sequence[Key], page_size: int, page_token: str, conditions: object
    ) -> None:
        self._keys, self._tokens = keys, _Tokens(session, conditions)
        self._size = page_size or DEFAULT_PAGE_SIZE
        self._last = self._tokens.read(page_token)

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
        return Page(page, self._tokens.make([getattr(page[-1], str(key.column.key)) for key in self._keys]))


def slice_page(
    session: Session,
    items: Sequence[Row],
    key: Callable[[Row], list[Any]],
    page_size: int,
    page_token: str,
    conditions: object,
) -> Page[Row]:
    """Cut one page out of a list that no single query gives, as `fetch_page` does.

    Args:
        items: the whole list, in the order of `key`.
        key: what names an item and says where it stands; values that JSON knows.

    Raises:
        InvalidField: the token is not one of this list's.
    """
    size = page_size or DEFAULT_PAGE_SIZE
    tokens = _Tokens(session, conditions)
    last = tokens.read(page_token)
    behind = [item for item in items if last is None or key(item) > last]
    page = tuple(behind[:size])
    return Page(page, tokens.make(key(page[-1])) if len(behind) > size else "")


def take_page(
    session: Session,
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
    tokens = _Tokens(session, conditions)
    last = tokens.read(page_token)
    found = list(islice(behind(last[0] if last else None), size + 1))
    page = tuple(found[:size])
    return Page(page, tokens.make([key(page[-1])]) if len(found) > size else "")


def starts_with(column: ColumnElement[str] | InstrumentedAttribute[str], prefix: str) -> ColumnElement[bool]:
    """Express that a name of ASCII characters starts so; as a range, which an index serves and LIKE does not."""
    return and_(column >= prefix, column < prefix + "\x7f")


def is_own(model: ColumnElement[str] | InstrumentedAttribute[str]) -> ColumnElement[bool]:
    """Express that a model is one of the caller's; of all models for a caller without a limit."""
    prefixes = own_prefixes()
    return or_(*(starts_with(model, prefix) for prefix in prefixes)) if prefixes else true()


def own_prefixes() -> tuple[str, ...]:
    """Return what the names of the caller's models begin with; empty for all."""
    who = identity.current.get()
    return who.models if who else ()


def _behind(keys: Sequence[Key], last: Sequence[object]) -> ColumnElement[bool]:
    """Express that a row comes after `last` in lexicographic order."""
    steps = (
        and_(*(k.column == v for k, v in zip(keys[:i], last[:i], strict=True)), key.behind(last[i]))
        for i, key in enumerate(keys)
    )
    # The first term says nothing new: it is the range in which an index begins, which it does not for an OR.
    return and_(keys[0].not_before(last[0]), or_(*steps))


class _Tokens:
    """Makes and reads the tokens of one list.

    A token holds the key behind which a page continues, which may be of a model that its holder may not see. So it is
    encrypted, and tied to the list that it was given for: a forged or foreign one is refused and not misread.
    """

    def __init__(self, session: Session, conditions: object) -> None:
        self._session = session
        self._list = repr(conditions).encode()

    def make(self, last: list[Any]) -> str:
        content = json.dumps(last, default=lambda at: {INSTANT: at.astimezone(UTC).isoformat()}).encode()
        filled = content.ljust(-(-len(content) // TOKEN_BYTES) * TOKEN_BYTES)
        return urlsafe_b64encode(self._cipher.encrypt(filled, [self._list])).decode()

    def read(self, token: str) -> list[Any] | None:
        """Return the key in a token; None for no token.

        Raises:
            InvalidField: it is not one of this list's.
        """
        if not token:
            return None
        try:
            content = self._cipher.decrypt(urlsafe_b64decode(token.encode()), [self._list])
        except (ValueError, InvalidTag):
            fix = "is not a token of this list; send the last next_page_token and the same filters"
            raise InvalidField(FieldViolation("page_token", fix)) from None
        last: list[Any] = json.loads(content, object_hook=lambda found: datetime.fromisoformat(found[INSTANT]))
        return last

    @property
    def _cipher(self) -> AESSIV:
        # Equal keys give equal tokens, and no nonce is needed that replicas would have to agree about.
        return AESSIV(self._session.get_one(KeyRow, PAGE_TOKENS).key)

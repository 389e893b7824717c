"""Who uses the console: sessions in memory, each with a client that has its user's credential."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256

from modelward import AsyncClient, Caller
from modelward.errors import LimitReached
from modelward_server.console.compare_runs import Runs
from modelward_server.console.live import Live
from modelward_server.console.live_pages import LivePage, Newest, newest, put

MAX_SESSIONS = 1000
"""Of more than this, the one that was used least recently ends."""
IDLE_SECONDS = 12 * 3600.0
"""A session in which its user asks for nothing for so long ends; a page that only follows changes does not keep it."""
LOOK_SECONDS = 60.0
"""Pause between two looks for sessions that have ended."""
CALLER_SECONDS = 60.0
"""For how long it is remembered who a user is; the server decides about each change anyway."""
MAX_PAGES = 100
"""Of one credential, that follow changes."""
Connect = Callable[[str], AsyncClient]
"""Returns a client with a token; an empty one where the server does not ask for any."""


class Access:
    """What one credential gives: a client with it, who its user is, and what its open pages share.

    Args:
        client: has the credential.
    """

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.live = Live(client, self.forget_caller)
        self.runs = Runs()
        self.sessions = 0
        """How many sessions have it."""
        self._pages: dict[str, LivePage] = {}
        self._caller: Caller | None = None
        self._asked_at = -CALLER_SECONDS
        self._scores_logged = False

    async def caller(self) -> Caller:
        """Return who its user is to the server, as the server said within the last `CALLER_SECONDS`.

        Raises:
            NotAuthenticated: the server asks for a credential, or no longer accepts this one.
        """
        if self._caller is None or time.monotonic() - self._asked_at > CALLER_SECONDS:
            self._caller, self._asked_at = await self.client.get_caller(), time.monotonic()
        return self._caller

    @property
    def expired(self) -> bool:
        """Whether the credential has ended, as far as the server has told."""
        ends = self._caller.expires_at if self._caller else None
        return ends is not None and ends <= datetime.now(UTC)

    async def scores_logged(self) -> bool:
        """Return whether the server keeps a log of scores that its user may see: it has a record, now or earlier."""
        if not self._scores_logged:
            self._scores_logged = bool((await self.client.list_scores().page(size=1)).items)
        return self._scores_logged

    def forget_caller(self) -> None:
        """Ask the server again who its user is."""
        self._caller = None

    def page(self, address: str, make: Callable[[Live], LivePage]) -> LivePage:
        """Return the open page of an address and time zone, which all of its users share.

        Raises:
            LimitReached: too many others are open, each of which costs work with every change.
        """
        self._pages = {key: page for key, page in self._pages.items() if not page.ended}
        if address not in self._pages:
            if len(self._pages) >= MAX_PAGES:
                raise LimitReached(f"{MAX_PAGES} pages are open and followed already; close some")
            self._pages[address] = make(self.live)
        return self._pages[address]


@dataclass
class Session:
    """One user's session; all users without a credential share one, because they have the same rights."""

    access: Access
    signed_in: bool
    """Whether its user gave a token here, and may sign out."""
    form_key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """The secret in its forms, which no other site can read."""
    used_at: float = field(default_factory=time.monotonic)
    _open: set[Newest] = field(default_factory=set)

    @property
    def client(self) -> AsyncClient:
        """The client with its user's credential."""
        return self.access.client

    @property
    def idle(self) -> bool:
        """Whether its user has asked for nothing for so long that it ends."""
        return time.monotonic() - self.used_at > IDLE_SECONDS

    @contextmanager
    def showing(self, page: LivePage) -> Iterator[Newest]:
        """Show an open page in this session, until the session ends."""
        queue = newest()
        self._open.add(queue)
        try:
            with page.showing(queue):
                yield queue
        finally:
            self._open.discard(queue)

    def end(self) -> None:
        """End its open pages."""
        for queue in self._open:
            put(queue, None)


class Sessions:
    """All sessions of one console."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._by_key: dict[str, Session] = {}
        self._by_token: dict[str, Access] = {}

    def without_credential(self) -> Session:
        """Return the session of everybody without a credential."""
        return self._used("") or self._keep("", Session(self._access(""), signed_in=False))

    async def of_bearer(self, token: str, *, uses: bool = True) -> Session:
        """Return the session of a token that a proxy sends with each request.

        Args:
            token: the proxy's; another one belongs to another session.
            uses: whether this counts as use of the session.

        Raises:
            ModelwardError: the server does not accept it, or does not answer.
        """
        key = f"bearer {sha256(token.encode()).hexdigest()}"
        if session := self._used(key, uses=uses):
            return session
        access = await self._accepted(token)
        return self._used(key) or self._keep(key, Session(access, signed_in=False))

    async def sign_in(self, token: str) -> str:
        """Open a session for a token that the server accepts, and return the secret for its cookie.

        Raises:
            ModelwardError: the server does not accept it, or does not answer.
        """
        access = await self._accepted(token)
        key = secrets.token_urlsafe(32)
        self._keep(key, Session(access, signed_in=True))
        return key

    def find(self, key: str, *, uses: bool = True) -> Session | None:
        """Return the session of a cookie; None if there is none, or if it has ended.

        Args:
            key: the cookie.
            uses: whether this counts as use of the session.
        """
        return self._used(key, uses=uses) if key else None

    async def end(self, key: str) -> None:
        """End a session with its open pages, and its connection where no other session has the same credential."""
        if session := self._by_key.pop(key, None):
            session.end()
            session.access.sessions -= 1
            await self._close_unused(session.access)

    async def end_unused(self) -> None:
        """End sessions whose users are idle, or whose credential has ended, until this is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for key in [key for key, one in self._by_key.items() if key and (one.idle or one.access.expired)]:
                await self.end(key)

    async def end_all(self) -> None:
        """End every session."""
        for key in list(self._by_key):
            await self.end(key)

    def _used(self, key: str, *, uses: bool = True) -> Session | None:
        session = self._by_key.get(key)
        if session is None or (key and session.idle):
            return None
        if uses:
            session.used_at = time.monotonic()
        return session

    async def _accepted(self, token: str) -> Access:
        """Return what a token gives, once the server has accepted it: a stranger's ends nobody's session."""
        access = self._access(token)
        access.sessions += 1  # Another attempt with the same token must not close its connection.
        try:
            await access.caller()
            await self._make_room()
        except BaseException:
            access.sessions -= 1
            await self._close_unused(access)
            raise
        access.sessions -= 1
        return access

    def _access(self, token: str) -> Access:
        key = sha256(token.encode()).hexdigest()
        if key not in self._by_token:
            self._by_token[key] = Access(self._connect(token))
        return self._by_token[key]

    async def _close_unused(self, access: Access) -> None:
        if not access.sessions:
            self._by_token = {key: one for key, one in self._by_token.items() if one is not access}
            access.runs.end()
            await access.client.close()

    def _keep(self, key: str, session: Session) -> Session:
        session.access.sessions += 1
        self._by_key[key] = session
        return session

    async def _make_room(self) -> None:
        while len(self._by_key) >= MAX_SESSIONS:
            await self.end(min(filter(None, self._by_key), key=lambda key: self._by_key[key].used_at))

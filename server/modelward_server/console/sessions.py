"""Who uses the console: sessions in memory, each with a client that has its user's credential."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from modelward import AsyncClient, Caller
from modelward_server.console.live import Live

MAX_SESSIONS = 1000
"""Of more than this, the one that was used least recently ends."""
IDLE_SECONDS = 12 * 3600.0
"""A session that is not used for so long ends."""
CALLER_SECONDS = 60.0
"""For how long it is remembered who a user is; the server decides about each change anyway."""
Connect = Callable[[str], AsyncClient]
"""Returns a client with a token; an empty one where the server does not ask for any."""


@dataclass
class Session:
    """One user's session; all users without a credential share one, because they have the same rights."""

    client: AsyncClient
    signed_in: bool
    """Whether its user gave a token here, and may sign out."""
    form_key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    """The secret in its forms, which no other site can read."""
    used_at: float = field(default_factory=time.monotonic)
    live: Live = field(init=False)
    """The changes that its open pages are told."""
    _caller: Caller | None = None
    _asked_at: float = -CALLER_SECONDS

    def __post_init__(self) -> None:
        self.live = Live(self.client)

    async def caller(self) -> Caller:
        """Return who its user is to the server, as the server said within the last `CALLER_SECONDS`.

        Raises:
            NotAuthenticated: the server asks for a credential, or no longer accepts this one.
        """
        if self._caller is None or time.monotonic() - self._asked_at > CALLER_SECONDS:
            self._caller, self._asked_at = await self.client.get_caller(), time.monotonic()
        return self._caller


class Sessions:
    """All sessions of one console."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._by_key: dict[str, Session] = {}

    def without_credential(self) -> Session:
        """Return the session of everybody without a credential."""
        return self._used("") or self._keep("", Session(self._connect(""), signed_in=False))

    async def of_bearer(self, token: str) -> Session:
        """Return the session of a token that a proxy sends with each request.

        Args:
            token: the proxy's; another one belongs to another session.
        """
        key = f"bearer {sha256(token.encode()).hexdigest()}"
        if session := self._used(key):
            return session
        await self._make_room()
        return self._keep(key, Session(self._connect(token), signed_in=False))

    async def sign_in(self, token: str) -> str:
        """Open a session for a token that the server accepts, and return the secret for its cookie.

        Raises:
            ModelwardError: the server does not accept it, or does not answer.
        """
        client = self._connect(token)
        try:
            await client.get_caller()
        except BaseException:
            await client.close()
            raise
        await self._make_room()
        key = secrets.token_urlsafe(32)
        self._keep(key, Session(client, signed_in=True))
        return key

    def find(self, key: str) -> Session | None:
        """Return the session of a cookie; None if there is none, or if it was not used for too long."""
        return self._used(key) if key else None

    async def end(self, key: str) -> None:
        """End a session, and its connection."""
        if session := self._by_key.pop(key, None):
            await session.client.close()

    async def end_all(self) -> None:
        """End every session."""
        for key in list(self._by_key):
            await self.end(key)

    def _used(self, key: str) -> Session | None:
        session, now = self._by_key.get(key), time.monotonic()
        if session is None or (key and now - session.used_at > IDLE_SECONDS):
            return None
        session.used_at = now
        return session

    def _keep(self, key: str, session: Session) -> Session:
        self._by_key[key] = session
        return session

    async def _make_room(self) -> None:
        while len(self._by_key) >= MAX_SESSIONS:
            await self.end(min(filter(None, self._by_key), key=lambda key: self._by_key[key].used_at))

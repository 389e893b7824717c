"""Finds out who calls, whether they may, and keeps them to their models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeAlias

from cachetools import TTLCache
from google.protobuf.message import Message
from grpc import aio

from modelward.errors import NotAuthenticated, NotServed, RoleTooLow
from modelward_server import identity
from modelward_server.identity import Identity
from modelward_server.observability import log_context
from modelward_server.runtime.executors import BoundedExecutor
from modelward_server.security import scope
from modelward_server.security.grants import TOKEN, ended_token, holder_of_certificate, holder_of_token
from modelward_server.security.identity_provider import IdentityProvider
from modelward_server.security.permissions import Permission, Reach
from modelward_server.storage.ledger import Ledger

AUTHORIZATION = "authorization"
BEARER = "bearer "
SECONDS_KEPT = 5.0
"""How long a credential is believed without another look: the longest that one lives on after it was revoked."""
CREDENTIALS_KEPT = 10_000

Context: TypeAlias = "aio.ServicerContext[Any, Any]"


class Authentication:
    """Checks each call's credential.

    Args:
        executor: the threads in which credentials are looked up.
        provider: whose JWTs are taken; None for none.
    """

    def __init__(self, ledger: Ledger, executor: BoundedExecutor, provider: IdentityProvider | None = None) -> None:
        self._ledger = ledger
        self._executor = executor
        self._provider = provider
        self._known: TTLCache[tuple[str, str], Identity] = TTLCache(CREDENTIALS_KEPT, SECONDS_KEPT)

    async def identify(self, context: Context) -> Identity:
        """Return who calls.

        Raises:
            NotAuthenticated: there is no credential, or none that is good.
        """
        credential = _credential(context)
        known = self._known.get(credential)
        if known is None:
            known = self._known[credential] = await self._look(*credential)
        return known

    async def check(self, who: Identity, request: Message, reach: Reach, *, first: bool) -> None:
        """Keep a caller to its models.

        Raises:
            ModelNotAllowed: the request is about another.
        """
        if who.models and reach is not Reach.NONE:
            await self._executor.run(self._check, who, request, reach, first)

    def _check(self, who: Identity, request: Message, reach: Reach, first: bool) -> None:
        with self._ledger.reading() as session:
            scope.check_request(session, who, request, reach, first=first)

    async def _look(self, kind: str, shown: str) -> Identity:
        if kind == "certificate":
            log_context.note(actor=shown)  # The handshake has proved that name, whatever is granted to it.
            if known := await self._executor.run(self._holder_of_certificate, shown):
                return known
            raise NotAuthenticated("what was granted to this certificate has expired or was revoked; ask for it anew")
        if self._provider and shown.count(".") == 2:
            return await self._provider.identity(shown)
        # What is no token by its looks is not worth a thread, for which others would wait.
        if TOKEN.fullmatch(shown):
            return await self._executor.run(self._holder_of_token, shown)
        raise _unknown()

    def _holder_of_certificate(self, name: str) -> Identity | None:
        with self._ledger.reading() as session:
            return holder_of_certificate(session, name, datetime.now(UTC))

    def _holder_of_token(self, token: str) -> Identity:
        now = datetime.now(UTC)
        with self._ledger.reading() as session:
            if found := holder_of_token(session, token, now):
                return found
            if ended := ended_token(session, token, now):
                log_context.note(actor=ended.name)  # Its secret has proved that name.
                raise NotAuthenticated(f"the token {ended.id} {ended.how}; ask for another one")
        raise _unknown()


def _unknown() -> NotAuthenticated:
    return NotAuthenticated("the token is not known here; ask for another one")


class Visit:
    """One call: who makes it, and what they may do with it."""

    def __init__(self, authentication: Authentication, permission: Permission, context: Context) -> None:
        self._authentication = authentication
        self._permission = permission
        self._context = context

    async def begin(self) -> None:
        """Find out who calls, for the rest of the call too.

        Raises:
            NotAuthenticated: there is no credential, or none that is good.
            RoleTooLow: they may not make this call.
        """
        try:
            self._who = await self._authentication.identify(self._context)
        except NotAuthenticated as error:
            log_context.note(refused=error.message)
            raise
        log_context.note(actor=self._who.name)  # Also of a call that is refused.
        if self._permission.role is None:
            raise NotServed("the server does not know what this call may do, so nobody may make it")
        if not self._who.role.covers(self._permission.role):
            said = f"{self._who.name} is a {self._who.role}, and this call takes a {self._permission.role}"
            raise RoleTooLow(said, role=self._who.role, needed=self._permission.role)
        identity.current.set(self._who)

    async def check(self, request: Message, *, first: bool = True) -> None:
        """Check a request; of those behind the first one, also whether the credential is still good."""
        if not first:
            await self.begin()
        await self._authentication.check(self._who, request, self._permission.reach, first=first)

    async def shown(self, answer: Message) -> Message | None:
        """Return what of an answer to a long call the caller is shown, if the credential is still good."""
        await self.begin()
        seen = self.only_own(answer)
        return None if seen is not answer and not seen.ListFields() else seen

    def only_own(self, answer: Message) -> Message:
        """Return an answer without what is about models that are not the caller's."""
        limited = self._who.models and self._permission.reach is Reach.LISTED
        return scope.kept(answer, self._who) if limited else answer


def _credential(context: Context) -> tuple[str, str]:
    """Return the credential and its kind; a token goes before the certificate of the connection."""
    given = dict(context.invocation_metadata() or ()).get(AUTHORIZATION, "")
    text = given.decode(errors="replace") if isinstance(given, bytes) else given
    if text[: len(BEARER)].lower() == BEARER:
        return "token", text[len(BEARER) :].strip()
    for name in context.auth_context().get("x509_common_name", ()):
        return "certificate", name.decode(errors="replace")[:256]
    raise NotAuthenticated("send a token as metadata, `authorization: Bearer mw_...`, or call with a certificate")

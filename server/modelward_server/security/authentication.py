"""Authentication of clients, and enforcement of their role and their restriction to some models."""

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
from modelward_server.security.permissions import Reach, Rule
from modelward_server.storage.ledger import Ledger

AUTHORIZATION = "authorization"
BEARER = "bearer "
SECONDS_KEPT = 5.0
"""How long a checked credential is cached: the maximum time that one stays valid after it was revoked."""
CREDENTIALS_KEPT = 10_000

Context: TypeAlias = "aio.ServicerContext[Any, Any]"


class Authentication:
    """Checks each call's credential.

    Args:
        executor: the threads in which credentials are looked up.
        provider: the identity provider whose JWTs are accepted; None for none.
    """

    def __init__(self, ledger: Ledger, executor: BoundedExecutor, provider: IdentityProvider | None = None) -> None:
        self._ledger = ledger
        self._executor = executor
        self._provider = provider
        self._known: TTLCache[tuple[str, str], Identity] = TTLCache(CREDENTIALS_KEPT, SECONDS_KEPT)

    async def identify(self, context: Context) -> Identity:
        """Return the identity of the client.

        Raises:
            NotAuthenticated: there is no valid credential.
        """
        credential = _credential(context)
        known = self._known.get(credential)
        if known is None:
            known = self._known[credential] = await self._look_up(*credential)
        return known

    async def check(self, client: Identity, request: Message, reach: Reach, *, first: bool) -> None:
        """Restrict a client to its models.

        Raises:
            ModelNotAllowed: the request is about another.
        """
        if client.models and reach is not Reach.NONE:
            await self._executor.run(self._check, client, request, reach, first)

    def _check(self, client: Identity, request: Message, reach: Reach, first: bool) -> None:
        with self._ledger.reading() as session:
            scope.check_request(session, client, request, reach, first=first)

    async def _look_up(self, kind: str, credential: str) -> Identity:
        if kind == "certificate":
            log_context.note(actor=credential)  # The handshake has proved that name, whatever is granted to it.
            if known := await self._executor.run(self._holder_of_certificate, credential):
                return known
            raise NotAuthenticated("the grant of this certificate has expired or was revoked; request a new one")
        if self._provider and credential.count(".") == 2:
            return await self._provider.identity(credential)
        # A malformed token is refused without occupying a thread that others would wait for.
        if TOKEN.fullmatch(credential):
            return await self._executor.run(self._holder_of_token, credential)
        raise _unknown()

    def _holder_of_certificate(self, name: str) -> Identity | None:
        with self._ledger.reading() as session:
            return holder_of_certificate(session, name, datetime.now(UTC))

    def _holder_of_token(self, token: str) -> Identity:
        now = datetime.now(UTC)
        with self._ledger.reading() as session:
            if holder := holder_of_token(session, token, now):
                return holder
            if ended := ended_token(session, token, now):
                log_context.note(actor=ended.name)  # The token's secret has proved that name.
                raise NotAuthenticated(f"the token {ended.id} {ended.how}; request a new one")
        raise _unknown()


def _unknown() -> NotAuthenticated:
    return NotAuthenticated("the token is unknown to this server; request a new one")


class CallAuthorization:
    """The client of one call, and the checks of what it may do."""

    def __init__(self, authentication: Authentication, rule: Rule, context: Context) -> None:
        self._authentication = authentication
        self._rule = rule
        self._context = context
        self._allowed: Identity | None = None

    async def begin(self) -> None:
        """Authenticate the client, for the rest of the call too.

        Raises:
            NotAuthenticated: there is no valid credential.
            RoleTooLow: the client may not make this call.
        """
        try:
            client = await self._authentication.identify(self._context)
        except NotAuthenticated as error:
            log_context.note(refused=error.message)
            raise
        if client is not self._allowed:  # `identify` returns the same while it is cached, for all updates of a watch.
            self._client = client
            self._authorize()
            self._allowed = client

    def _authorize(self) -> None:
        log_context.note(actor=self._client.name)  # Also for a call that is refused.
        role, rule = self._client.role, self._rule
        if rule.permission is None:
            raise NotServed("the server has no permission rule for this call, so nobody may make it")
        if rule.permission not in role.permissions:
            needed = rule.least_roles
            message = f"{self._client.name} has the role {role}, and this call requires {' or '.join(needed)}"
            raise RoleTooLow(message, role=role, needed=",".join(needed))
        identity.current.set(self._client)

    async def check(self, request: Message, *, first: bool = True) -> None:
        """Check a request; for those after the first one, also whether the credential is still valid."""
        if not first:
            await self.begin()
        await self._authentication.check(self._client, request, self._rule.reach, first=first)

    async def visible_update(self, answer: Message) -> Message | None:
        """Return the part of a streamed answer that the client may see, if the credential is still valid."""
        await self.begin()
        visible = self.visible_part(answer)
        return None if visible is not answer and not visible.ListFields() else visible

    def visible_part(self, answer: Message) -> Message:
        """Return an answer without the entries about models that the client may not see."""
        is_limited = self._client.models and self._rule.reach is Reach.LISTED
        return scope.visible_part(answer, self._client) if is_limited else answer


def _credential(context: Context) -> tuple[str, str]:
    """Return the credential and its kind; a token takes precedence over the certificate of the connection."""
    header = dict(context.invocation_metadata() or ()).get(AUTHORIZATION, "")
    text = header.decode(errors="replace") if isinstance(header, bytes) else header
    if text[: len(BEARER)].lower() == BEARER:
        return "token", text[len(BEARER) :].strip()
    for name in context.auth_context().get("x509_common_name", ()):
        return "certificate", name.decode(errors="replace")[:256]
    raise NotAuthenticated("send a token as metadata, `authorization: Bearer mw_...`, or call with a certificate")

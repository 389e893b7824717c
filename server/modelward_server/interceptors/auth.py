"""Authentication and authorization of calls, before the request is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from modelward_server.interceptors.base import Behavior, Call, Interceptor
from modelward_server.security.authentication import Authentication, Visit
from modelward_server.security.permissions import permission_of

HEALTH = "/grpc.health.v1.Health/"


class Auth(Interceptor):
    """Requires a credential for every service, including reflection, except health: probes of servers have no token."""

    def __init__(self, authentication: Authentication) -> None:
        self._authentication = authentication

    def applies_to(self, method: str) -> bool:
        return not method.startswith(HEALTH)

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[Visit]:
        call.visit = Visit(self._authentication, permission_of(call.method), call.context)
        await call.visit.begin()
        yield call.visit

    def _single(self, inner: Behavior) -> Behavior:
        async def behavior(call: Call) -> Any:
            async with self.around(call) as visit:
                return visit.only_own(await inner(call))

        return behavior

    def _stream(self, inner: Behavior) -> Behavior:
        async def behavior(call: Call) -> AsyncIterator[Any]:
            async with self.around(call) as visit, aclosing(inner(call)) as answers:
                async for answer in answers:
                    shown = await visit.shown(answer)
                    if shown is not None:
                        yield shown

        return behavior

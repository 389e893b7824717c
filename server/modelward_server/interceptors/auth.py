"""Authentication and authorization of calls, before the request is read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from modelward_server.interceptors.base import Behavior, Call, Interceptor
from modelward_server.security.authentication import Authentication, CallAuthorization
from modelward_server.security.permissions import permission_of

HEALTH = "/grpc.health.v1.Health/"


class Auth(Interceptor):
    """Requires a credential for every service, including reflection, except health: probes of servers have no token."""

    def __init__(self, authentication: Authentication) -> None:
        self._authentication = authentication

    def applies_to(self, method: str) -> bool:
        return not method.startswith(HEALTH)

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[CallAuthorization]:
        call.authorization = CallAuthorization(self._authentication, permission_of(call.method), call.context)
        await call.authorization.begin()
        yield call.authorization

    def _single(self, inner: Behavior) -> Behavior:
        async def behavior(call: Call) -> Any:
            async with self.around(call) as authorization:
                return authorization.visible_part(await inner(call))

        return behavior

    def _stream(self, inner: Behavior) -> Behavior:
        async def behavior(call: Call) -> AsyncIterator[Any]:
            async with self.around(call) as authorization, aclosing(inner(call)) as answers:
                async for answer in answers:
                    visible = await authorization.visible_update(answer)
                    if visible is not None:
                        yield visible

        return behavior

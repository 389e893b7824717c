"""Authentication and authorization of calls, before the request is read."""

from __future__ import annotations

from typing import Any

from modelward_server.interceptors.base import Behavior, Call, Interceptor, Send
from modelward_server.security.authentication import Authentication, CallAuthorization
from modelward_server.security.permissions import rule_of

HEALTH = "/grpc.health.v1.Health/"


class Auth(Interceptor):
    """Requires a credential for every service, including reflection, except health: probes of servers have no token."""

    def __init__(self, authentication: Authentication) -> None:
        self._authentication = authentication

    def applies_to(self, method: str) -> bool:
        return not method.startswith(HEALTH)

    async def run(self, inner: Behavior, call: Call) -> Any:
        authorization = CallAuthorization(self._authentication, rule_of(call.method), call.context)
        call.authorization = authorization
        await authorization.begin()
        if call.send is None:
            return authorization.visible_part(await inner(call))
        call.send = _visible_only(call.send, authorization)
        return await inner(call)


def _visible_only(send: Send, authorization: CallAuthorization) -> Send:
    """Return a function that sends the part of a response that the client may see."""

    async def send_visible(answer: Any) -> None:
        visible = await authorization.visible_update(answer)
        if visible is not None:
            await send(visible)

    return send_visible

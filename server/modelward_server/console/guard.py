"""What every request must pass: its host, its session, and for a change its form's secret and its origin."""

import asyncio
from collections.abc import Mapping
from secrets import compare_digest
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelward.caller import Caller, Permission, Role
from modelward.errors import DeadlineExceeded, FieldViolation, InvalidField
from modelward_server.console.sessions import Session, Sessions

LOOPBACK = {"localhost", "127.0.0.1", "::1"}
MAX_FORM_BYTES = 500_000
"""Of a form, in which a character of the longest texts takes up to twelve bytes."""
FORM_SECONDS = 60.0
POLICY = "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'none'; object-src 'none'"
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
"""What every answer has; a report, which carries its own style, has a policy of its own."""


class Headers:
    """Adds `HEADERS` to every answer; what belongs to a user is not cached."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self._app(scope, receive, sent)


class KnownHost:
    """Refuses a request for another host where the console serves this machine only.

    Otherwise a site whose name is resolved to this machine would be of the same origin as the console.
    """

    def __init__(self, app: ASGIApp, loopback: bool) -> None:
        self._app, self._loopback = app, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._loopback and scope["type"] == "http" and Request(scope).url.hostname not in LOOPBACK:
            refused = PlainTextResponse("The console serves localhost only.\n", 421)
            await refused(scope, receive, send)
            return
        await self._app(scope, receive, send)


def cookie_of(request: Request) -> str:
    """Return the name of the cookie: browsers send it to every port of a host, so each console has its own."""
    _, port = request.scope.get("server") or ("", None)
    return f"modelward_session_{port}" if port else "modelward_session"


async def session_of(request: Request, *, uses: bool = True) -> Session:
    """Return the session of a request: its cookie's, its proxy's, or that of everybody without a credential.

    Args:
        request: the request.
        uses: whether it is its user who asks, and not a page that follows changes.

    Raises:
        ModelwardError: the server does not accept the proxy's credential, or does not answer.
    """
    sessions: Sessions = request.app.state.sessions
    if session := sessions.find(request.cookies.get(cookie_of(request), ""), uses=uses):
        return session
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return await sessions.of_bearer(token, uses=uses)
    return sessions.without_credential()


async def form_of(request: Request) -> dict[str, str]:
    """Return the fields of a form; lines end as they were counted when they were typed, not as browsers send them.

    Raises:
        InvalidField: it is too long, or not text.
        DeadlineExceeded: it does not arrive in time.
    """
    try:
        async with asyncio.timeout(FORM_SECONDS):
            body = await _short_body(request)
    except TimeoutError:
        raise DeadlineExceeded(f"the form did not arrive in {FORM_SECONDS:g} s; send it again") from None
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True)
    except ValueError:
        raise InvalidField(FieldViolation("form", "is not the fields of a form in UTF-8")) from None
    return {name: text.replace("\r\n", "\n") for name, text in fields}


async def _short_body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM_BYTES:
            raise InvalidField(FieldViolation("form", f"is longer than {MAX_FORM_BYTES:,} bytes"))
    return body


def is_own_origin(request: Request) -> bool:
    """Return whether a form was not sent by a page of another site; old browsers do not tell.

    A proxy tells the host that the browser named in `X-Forwarded-Host`, which no form of another site can send.
    """
    origin = request.headers.get("origin")
    hosts = {request.headers.get("host"), request.headers.get("x-forwarded-host")}
    return origin is None or urlsplit(origin).netloc in hosts


def is_own_form(request: Request, form: Mapping[str, str], session: Session) -> bool:
    """Return whether a form was sent by a page of this console to this user."""
    return is_own_origin(request) and compare_digest(form.get("form_key", "").encode(), session.form_key.encode())


def why_refused(caller: Caller, role: Role) -> str:
    """Return why a user may not make a change that needs a role; empty if he may."""
    return "" if caller.role.covers(role) else f"it needs the role {role}, and yours is {caller.role}"


def why_not_permitted(caller: Caller, permission: Permission) -> str:
    """Return why a user may not make a change that needs a permission of more than one role; empty if he may."""
    roles = " or ".join(role for role in Role if permission in role.permissions)
    return "" if permission in caller.role.permissions else f"it needs the role {roles}, and yours is {caller.role}"

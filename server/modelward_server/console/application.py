"""The console's application: addresses, and what stands before every page."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from modelward.errors import ModelwardError, NotAuthenticated
from modelward_server.console import time_zones
from modelward_server.console.acts import asking, drill_all, halt_many
from modelward_server.console.faults import refused_form
from modelward_server.console.guard import (
    LOOPBACK,
    Headers,
    KnownHost,
    cookie_of,
    form_of,
    is_own_form,
    is_own_origin,
    session_of,
)
from modelward_server.console.live_pages import events
from modelward_server.console.live_routes import live_page
from modelward_server.console.pages import (
    ab_tests,
    approval,
    approvals,
    audit,
    compare,
    compare_run,
    comparison,
    comparisons,
    drift,
    drill,
    drills,
    engines,
    evidence,
    finding,
    findings,
    inventory,
    login,
    model,
    now,
    performance,
    retraining,
    reviews,
    rollout,
    scores,
    system,
    version,
)
from modelward_server.console.rendering import page, wants_json
from modelward_server.console.report_routes import report_routes, report_style
from modelward_server.console.routing import (
    NO_PAGE,
    changed,
    download_route,
    form_page,
    guarded,
    page_routes,
    show,
    visited,
)
from modelward_server.console.sessions import Connect, Session, Sessions
from modelward_server.console.uploads import upload_form_of

STATIC = Path(__file__).parent / "static"
ZIP, EVENTS = "application/zip", "text/event-stream"
COME_AGAIN = "retry: 3000\n\n"
"""Tells a browser to connect again in so many milliseconds: the server is away."""


def application(connect: Connect, *, loopback: bool, read_only: bool = False) -> Starlette:
    """Return the console as an ASGI application.

    Args:
        connect: returns a client of the server for a token.
        loopback: whether it serves this machine only.
        read_only: whether it offers no changes.
    """
    sessions = Sessions(connect)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        ends = asyncio.create_task(sessions.end_unused())
        yield
        ends.cancel()
        await sessions.end_all()

    app = Starlette(
        routes=[
            *_routes(),
            Route("/static/report.css", report_style),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Headers), Middleware(KnownHost, loopback=loopback)],
        exception_handlers={404: _no_page, 405: _no_page},
        lifespan=lifespan,
    )
    app.state.sessions, app.state.read_only = sessions, read_only
    return app


async def _no_page(request: Request, _: Exception) -> Response:
    return page(request, "fault", NO_PAGE, 404)


def _routes() -> list[Route]:
    return [
        *page_routes("/", now, "/now"),
        Route("/models/{model}.json", guarded(_model_or_twin)),
        *page_routes("/models/{model}", model),
        *page_routes("/models/{model}/versions/{version:int}", version),
        download_route(
            "/models/{model}/versions/{version:int}/evidence.zip", evidence.of_version, ZIP, evidence.name_of_version
        ),
        *page_routes("/models/{model}/drift", drift),
        *page_routes("/models/{model}/performance", performance),
        *page_routes("/models/{model}/comparisons", comparisons),
        *page_routes("/models/{model}/ab", ab_tests),
        *page_routes("/models/{model}/rollout", rollout),
        *page_routes("/engines", engines),
        Route("/compare", guarded(_ask_compare)),
        Route("/compare", guarded(_compare), methods=["POST"]),
        Route("/compare/{run:uuid}", guarded(_compared)),
        *page_routes("/comparisons/{comparison}", comparison),
        Route("/models/{model}/{act}", guarded(_ask)),
        Route("/models/{model}/{act}", guarded(_act), methods=["POST"]),
        Route("/halt", guarded(_ask_halt)),
        Route("/halt", guarded(_halt), methods=["POST"]),
        *report_routes(),
        *page_routes("/retraining", retraining),
        *page_routes("/approvals", approvals),
        *page_routes("/approvals/{approval}", approval),
        *page_routes("/findings", findings),
        *page_routes("/findings/{finding}", finding),
        *page_routes("/reviews", reviews),
        *page_routes("/drills", drills),
        *page_routes("/drills/{drill}", drill),
        Route("/drill", guarded(_ask_drill)),
        Route("/drill", guarded(_drill), methods=["POST"]),
        *page_routes("/scores", scores),
        download_route("/evidence.zip", evidence.of_production, ZIP, "modelward-evidence.zip"),
        *page_routes("/audit", audit),
        download_route("/audit/export.jsonl", audit.as_json_lines, "application/x-ndjson", "modelward-audit.jsonl"),
        download_route("/audit/export.csv", audit.as_csv, "text/csv", "modelward-audit.csv"),
        Route("/audit/verify", guarded(_verify), methods=["POST"]),
        *page_routes("/inventory", inventory),
        download_route("/inventory.csv", inventory.as_csv, "text/csv", "modelward-inventory.csv"),
        *page_routes("/system", system),
        Route("/events", guarded(_events)),
        Route("/find", _find),
        Route("/login", _login, name="login"),
        Route("/login", guarded(_sign_in), methods=["POST"]),
        Route("/logout", guarded(_sign_out), methods=["POST"]),
    ]


async def _model_or_twin(request: Request) -> Response:
    """Show the model of this name if there is one, because a model's name may end so; otherwise the twin of a page."""
    name = f"{request.path_params['model']}.json"
    request.path_params["twin"] = True
    session = await session_of(request)
    with suppress(ModelwardError):  # The page fails in the same way.
        await session.client.get_model(name)
        request.path_params.update(model=name, twin=False)
    return await show(request, model)


async def _ask(request: Request) -> Response:
    session = await visited(request)
    if request.path_params["act"] not in asking.ACTS or request.app.state.read_only:
        return page(request, "fault", NO_PAGE, 404)
    return page(request, "act", await asking.ask(session.client, request, request.state.caller))


async def _act(request: Request) -> Response:
    if request.path_params["act"] not in asking.ACTS:
        await visited(request)
        return page(request, "fault", NO_PAGE, 404)
    return await changed(request, lambda client, form: asking.make(client, request, form), ("act", asking.ask_again))


async def _ask_halt(request: Request) -> Response:
    return await form_page(request, halt_many.TEMPLATE, halt_many.ask)


async def _halt(request: Request) -> Response:
    return await changed(request, halt_many.make)


async def _ask_drill(request: Request) -> Response:
    return await form_page(request, drill_all.TEMPLATE, drill_all.ask)


async def _drill(request: Request) -> Response:
    return await changed(request, drill_all.make)


async def _ask_compare(request: Request) -> Response:
    return await form_page(request, compare.TEMPLATE, compare.fetch)


async def _compare(request: Request) -> Response:
    """Begin the comparison of a form; who sends it, and whether he may, is known before its file is read."""
    session = await visited(request)
    compare.check_role(request.state.caller)
    if request.app.state.read_only:
        return page(request, "fault", NO_PAGE, 404)
    if not is_own_origin(request):
        return refused_form(request)
    with session.access.runs.forms.admit():
        return await _begun(request, session)


async def _begun(request: Request, session: Session) -> Response:
    form = await upload_form_of(request)
    try:
        if not is_own_form(request, {"form_key": form.text("form_key")}, session):
            return refused_form(request)
        begun = await compare.begin(session.client, session.access.runs, form, request.state.caller)
    finally:
        await form.fields.close()
    if isinstance(begun, compare.View):
        return page(request, compare.TEMPLATE, begun, 400)
    return RedirectResponse(f"/compare/{begun.run_id}", 303)


async def _compared(request: Request) -> Response:
    """Show the progress of a comparison; once it has a verdict, go to that."""
    session = await visited(request)
    request.path_params["run"] = str(request.path_params["run"])
    view = await compare_run.fetch(session.client, request)
    if view.comparison_id and not wants_json(request):
        return RedirectResponse(f"/comparisons/{quote(view.comparison_id)}", 303)
    return page(request, compare_run.TEMPLATE, view)


async def _verify(request: Request) -> Response:
    session = await visited(request)
    form = await form_of(request)
    if not is_own_form(request, form, session):
        return refused_form(request)
    return page(request, "verified", await audit.verify(session.client, form.get("expected_hash", "").strip()))


async def _events(request: Request) -> Response:
    """Send an open page again after each change, as server-sent events; the query names its address."""
    try:
        session = await session_of(request, uses=False)
        caller = await session.access.caller()
    except NotAuthenticated:
        return Response(status_code=204)  # Which tells a browser not to connect again.
    except ModelwardError:
        return Response(COME_AGAIN, media_type=EVENTS)  # After another status a browser would not.
    address = request.query_params.get("page", "")
    made = live_page(request, session.access, address)
    if made is None:
        return page(request, "fault", NO_PAGE, 404)
    shown = session.access.page(f"{time_zones.remembered(request)} {address}", made)

    async def sent() -> AsyncIterator[bytes]:
        with session.showing(shown) as queue:
            async for event in events(queue, caller.expires_at):
                yield event

    unbuffered = {"x-accel-buffering": "no"}  # nginx would otherwise hold events back.
    return StreamingResponse(sent(), media_type=EVENTS, headers=unbuffered)


async def _find(request: Request) -> Response:
    """Go to the page of the model whose name was typed."""
    return RedirectResponse(f"/models/{quote(request.query_params.get('model', '').strip(), safe='')}", 303)


async def _login(request: Request) -> Response:
    return page(request, login.TEMPLATE, login.View(_next(request.query_params.get("next", ""))))


async def _sign_in(request: Request) -> Response:
    form = await form_of(request)
    after = _next(form.get("next", ""))
    if not is_own_origin(request):
        return refused_form(request)
    sessions: Sessions = request.app.state.sessions
    try:
        key = await sessions.sign_in(form.get("token", "").strip())
    except ModelwardError as error:
        status = 401 if isinstance(error, NotAuthenticated) else 503
        return page(request, login.TEMPLATE, login.View(after, error.message), status)
    answer = RedirectResponse(after, 303)
    secure = request.url.scheme == "https" or request.url.hostname not in LOOPBACK
    answer.set_cookie(cookie_of(request), key, httponly=True, secure=secure, samesite="lax")
    return answer


async def _sign_out(request: Request) -> Response:
    form, session = await form_of(request), await session_of(request)
    if not is_own_form(request, form, session):
        return refused_form(request)
    await request.app.state.sessions.end(request.cookies.get(cookie_of(request), ""))
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(cookie_of(request))
    return answer


def _next(path: str) -> str:
    """Return a path of this console to go to, whatever a link says."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"

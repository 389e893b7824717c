"""How a page, a download and a change are answered: for whom, in which zone, and with a page where it fails."""

from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from modelward import AsyncClient, Caller
from modelward.errors import ModelwardError, NotAuthenticated
from modelward_server.console import time_zones
from modelward_server.console.acts.act import Form
from modelward_server.console.downloads import download
from modelward_server.console.faults import Fault, fault_page, refused_form, status_of
from modelward_server.console.guard import form_of, is_own_form, session_of
from modelward_server.console.rendering import page
from modelward_server.console.sessions import Session

NO_PAGE = Fault("There is no such page", "The console has no page of this address, or offers no changes.", "")
Endpoint = Callable[[Request], Awaitable[Response]]
Again = Callable[[AsyncClient, Request, Form, ModelwardError], Awaitable[object]]


async def show(request: Request, module: ModuleType) -> Response:
    """Show the page of a module."""
    session = await visited(request)
    request.state.zone = await time_zones.zone_of(session.client, request)
    answer = page(request, module.TEMPLATE, await module.fetch(session.client, request))
    time_zones.remember(request, answer)
    return answer


def page_routes(path: str, module: ModuleType, twin: str = "") -> list[Route]:
    """Return the routes of a page and of its JSON twin."""

    async def shown(request: Request) -> Response:
        return await show(request, module)

    async def shown_twin(request: Request) -> Response:
        request.path_params["twin"] = True
        return await shown(request)

    return [Route(f"{twin or path}.json", guarded(shown_twin)), Route(path, guarded(shown))]


def download_route(
    path: str,
    parts: Callable[[AsyncClient, Request], AsyncIterator[str | bytes]],
    kind: str,
    name: str | Callable[[Request], str],
) -> Route:
    """Return the route of a file, which is sent while it is read.

    Args:
        path: its address.
        parts: the file's content.
        kind: its media type.
        name: the name under which a browser keeps it, or what returns that.
    """

    async def send(request: Request) -> Response:
        session = await session_of(request)
        return await download(parts(session.client, request), kind, name if isinstance(name, str) else name(request))

    return Route(path, guarded(send))


def guarded(endpoint: Endpoint) -> Endpoint:
    """Show the page of what went wrong in place of an error of ours."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ModelwardError as error:
            return fault_page(request, error)

    return answer


async def visited(request: Request) -> Session:
    """Note for the page who asks for it."""
    request.state.session = session = await session_of(request)
    request.state.caller = await session.access.caller()
    request.state.scores_logged = await session.access.scores_logged()
    request.state.runs = session.access.runs
    return session


async def form_page(
    request: Request, template: str, fetch: Callable[[AsyncClient, Request, Caller], Awaitable[object]]
) -> Response:
    """Show the form of a change, unless the console makes none."""
    session = await visited(request)
    if request.app.state.read_only:
        return page(request, "fault", NO_PAGE, 404)
    return page(request, template, await fetch(session.client, request, request.state.caller))


async def changed(
    request: Request,
    make: Callable[[AsyncClient, Form], Awaitable[str]],
    again: tuple[str, Again] | None = None,
) -> Response:
    """Make the change of a form, and go to the page that shows what it did.

    Args:
        request: the request, with the form.
        make: makes it, and returns the address of that page.
        again: the template and what fetches the page with the form as it was sent, for a change that is refused; None
            for the page of what went wrong.
    """
    session = await visited(request)
    form = await form_of(request)
    if request.app.state.read_only:
        return page(request, "fault", NO_PAGE, 404)
    if not is_own_form(request, form, session):
        return refused_form(request)
    try:
        return RedirectResponse(await make(session.client, form), 303)
    except NotAuthenticated:
        raise
    except ModelwardError as error:
        if again is None:
            raise
        template, fetch = again
        return page(request, template, await fetch(session.client, request, form, error), status_of(error))

"""The page for what went wrong: in words, with a status that fits."""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

import grpc
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from modelward.errors import MessageTooLarge, ModelwardError, NotAuthenticated
from modelward_server.console.rendering import page, wants_json

STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_OWN = {NotAuthenticated: 401, MessageTooLarge: 413}
TITLES = {
    403: "Your role does not allow this",
    404: "There is no such thing",
    413: "The file is too large",
    409: "This cannot be done as it is now",
    503: "The server does not answer",
    504: "The server did not answer in time",
}


@dataclass(frozen=True)
class Fault:
    """What went wrong."""

    title: str
    message: str
    reason: str
    """The stable identifier of the error; empty if it has none."""


def fault_page(request: Request, error: ModelwardError) -> Response:
    """Return the page for an error; who is not signed in is asked to do so first."""
    if isinstance(error, NotAuthenticated) and not wants_json(request):
        return RedirectResponse(
            f"{request.app.url_path_for('login')}?{urlencode({'next': _address(request)}, safe='/')}", 303
        )
    status = status_of(error)
    return page(request, "fault", Fault(TITLES.get(status, "It failed"), error.message, error.reason), status)


def _address(request: Request) -> str:
    """Return path and query of a request."""
    query = request.url.query
    return f"{quote(request.url.path)}?{query}" if query else quote(request.url.path)


def status_of(error: ModelwardError) -> int:
    """Return the HTTP status that fits an error."""
    return _OWN.get(type(error)) or STATUSES.get(error.status, 502)


def refused_form(request: Request) -> Response:
    """Return the page for a form that no page of this console sent."""
    message = "The form did not come from this page, or the page is too old. Load it again, and repeat what you did."
    return page(request, "fault", Fault("Nothing was changed", message, ""), 403)

"""Pages of the console: templates, and what every page shows."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from modelward.caller import Caller, Permission, Role
from modelward.shared.json_values import to_json
from modelward_server.console import time_zones
from modelward_server.console.sessions import Session
from modelward_server.reports.page import templates

GOVERNANCE, RETRAINING = "/approvals", "/retraining"
SECTIONS = {
    "engines": "/engines",
    "compare": "/compare",
    "retraining": RETRAINING,
    **dict.fromkeys(("approvals", "findings", "reviews", "drills", "drill", "scores"), GOVERNANCE),
    "audit": "/audit",
    "inventory": "/inventory",
    "system": "/system",
}
"""The link of the menu to which the pages belong whose path begins so; all others belong to the first page."""
SECTIONS_OF_MODELS = {
    **dict.fromkeys(("retrain", "pause-schedule", "resume-schedule"), RETRAINING),
    **dict.fromkeys(("request-approval", "approve", "reject", "withdraw-approval"), GOVERNANCE),
    **dict.fromkeys(("open-finding", "change-finding", "close-finding", "record-review", "drill"), GOVERNANCE),
}
"""The same of the pages below the page of a model, by the end of their path."""
_templates = templates("modelward_server.console")
_templates.filters["local"] = time_zones.local
_templates.filters["shell"] = shlex.quote


@dataclass(frozen=True)
class Frame:
    """What stands around a page."""

    signed_in: bool
    form_key: str
    caller: Caller | None
    """Who the user is; None where that is not known yet."""
    may_operate: bool
    """Whether the user may move versions, halt and resume: what he may not do is not offered."""
    may_train: bool
    """Whether the user may request a retraining, or an approval."""
    may_review: bool
    """Whether the user may open and close findings, and record reviews."""
    may_drill: bool
    """Whether the user may start drills."""
    may_change: bool
    """Whether the console offers changes at all: decisions depend on the user's functions, not on the role."""
    scores_logged: bool
    """Whether the server keeps a log of scores."""
    path: str
    at: datetime
    zone: str
    """The zone in which times are shown beside UTC; empty for none."""
    query: Sequence[tuple[str, str]]
    """The parameters of the address, without that of the zone."""
    whole: bool = True
    """Whether the page is rendered with what stands around it."""

    @property
    def section(self) -> str:
        """The address of the link of the menu to which the page belongs."""
        first, *others = self.path.strip("/").split("/")
        if first == "models":
            return SECTIONS_OF_MODELS.get(others[-1], "/") if len(others) == 2 else "/"
        return SECTIONS.get(first, "/")

    def current(self, address: str) -> str:
        """Return what `aria-current` says of a link of a menu; empty where it leads elsewhere."""
        if self.path == address:
            return "page"
        return "true" if self.section == address else ""


def frame(request: Request) -> Frame:
    """Return the frame of a request's page."""
    session: Session | None = getattr(request.state, "session", None)
    caller: Caller | None = getattr(request.state, "caller", None)
    zone: ZoneInfo | None = getattr(request.state, "zone", None)

    def may(role: Role) -> bool:
        return caller is not None and caller.role.covers(role) and not request.app.state.read_only

    return Frame(
        signed_in=bool(session and session.signed_in),
        form_key=session.form_key if session else "",
        caller=caller,
        may_operate=may(Role.OPERATOR),
        may_train=may(Role.TRAINER),
        may_review=may(Role.VALIDATOR),
        may_drill=may(Role.VIEWER) and caller is not None and Permission.DRILL in caller.role.permissions,
        may_change=may(Role.VIEWER),
        scores_logged=getattr(request.state, "scores_logged", False),
        path=request.url.path,
        at=datetime.now(UTC),
        zone=zone.key if zone else "",
        query=[(name, text) for name, text in request.query_params.multi_items() if name != "tz"],
    )


def wants_json(request: Request) -> bool:
    """Return whether the address asks for JSON: by its ending or, for any page, by `?format=json`."""
    return bool(request.path_params.get("twin")) or request.query_params.get("format") == "json"


def page(request: Request, template: str, view: Any, status: int = 200) -> Response:
    """Return a page, or its view as JSON where the address says so.

    Args:
        request: the request.
        template: the name of the template, without its ending.
        view: what the template shows: a frozen dataclass.
        status: the HTTP status.
    """
    if wants_json(request):
        return Response(json.dumps(to_json(view), indent=2), status, media_type="application/json")
    return HTMLResponse(_filled(request, template, view, frame(request)), status)


def main_part(request: Request, template: str, view: Any) -> str:
    """Return what a page shows, without the frame around it, which belongs to one session."""
    return _filled(request, template, view, replace(frame(request), whole=False))


def _filled(request: Request, template: str, view: Any, around: Frame) -> str:
    time_zones.show_in(getattr(request.state, "zone", None))
    return _templates.get_template(f"templates/{template}.html.jinja").render(view=view, frame=around)

"""Which page an open browser shows, and what concerns it."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from starlette.requests import Request
from starlette.routing import Match, Route

from modelward.lifecycle import EventKind, ModelEvent
from modelward_server.console import time_zones
from modelward_server.console.live import Live
from modelward_server.console.live_pages import LivePage
from modelward_server.console.pages import (
    ab_tests,
    approval,
    approvals,
    compare_run,
    drill,
    drills,
    engines,
    finding,
    findings,
    model,
    now,
    retraining,
    reviews,
    rollout,
    version,
)
from modelward_server.console.rendering import main_part
from modelward_server.console.sessions import Access

PAGES: dict[str, ModuleType] = {
    "/": now,
    "/models/{model}": model,
    "/models/{model}/versions/{version:int}": version,
    "/models/{model}/ab": ab_tests,
    "/models/{model}/rollout": rollout,
    "/engines": engines,
    "/retraining": retraining,
    "/approvals": approvals,
    "/approvals/{approval}": approval,
    "/findings": findings,
    "/findings/{finding}": finding,
    "/reviews": reviews,
    "/drills": drills,
    "/drills/{drill}": drill,
    "/compare/{run}": compare_run,
}
"""The pages that follow changes; `FOLLOWS` of a module are the kinds that concern it, all where it has none.

A module with `changes` follows what that returns in place of the registry's changes.
"""
EVERY_KIND = frozenset(EventKind)


def live_page(request: Request, access: Access, address: str) -> Callable[[Live], LivePage] | None:
    """Return what makes the page of an address; None if no page there follows changes.

    Args:
        request: that of the browser.
        access: the user's.
        address: path and query of the page.
    """
    for path, module in PAGES.items():
        parameters = _parameters(Route(path, endpoint=live_page), address)
        if parameters is not None:
            shown = _request_of(request, address, parameters)
            shown.state.runs = access.runs
            return _made(shown, access, module)
    return None


def _parameters(route: Route, address: str) -> dict[str, Any] | None:
    """Return the parameters in the path of an address; None if it is not of this route."""
    match, scope = route.matches({"type": "http", "method": "GET", "path": address.partition("?")[0]})
    return dict(scope["path_params"]) if match is Match.FULL else None


def _request_of(request: Request, address: str, parameters: dict[str, Any]) -> Request:
    """Return a request of the page that has nothing of one session but the time zone."""
    path, _, query = address.partition("?")
    own = {"path": path, "query_string": query.encode(), "path_params": parameters}
    zone = time_zones.remembered(request)
    headers = [(b"cookie", f"{time_zones.COOKIE}={zone}".encode())] if zone else []
    return Request({"type": "http", "method": "GET", "headers": headers, "app": request.app, **own})


def _made(request: Request, access: Access, module: ModuleType) -> Callable[[Live], LivePage]:
    name = request.path_params.get("model")
    kinds: frozenset[EventKind] = getattr(module, "FOLLOWS", EVERY_KIND)

    async def render() -> str:
        request.state.caller = await access.caller()
        request.state.zone = await time_zones.zone_of(access.client, request)
        return main_part(request, module.TEMPLATE, await module.fetch(access.client, request))

    def concerns(event: ModelEvent) -> bool:
        return event.kind in kinds and name in {None, event.model}

    if hasattr(module, "changes"):
        changes = module.changes(request)
        return lambda _: LivePage(changes, render, lambda _: True)
    return lambda live: LivePage(live, render, concerns)

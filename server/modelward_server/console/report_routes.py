"""Reports, as the server draws them."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from modelward_server import reports
from modelward_server.console.guard import session_of
from modelward_server.console.routing import guarded

REPORT_STYLE = Path(reports.__file__).parent / "report.css"
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
"""The policy of a report, which carries its own style and needs nothing else."""


def report_routes() -> list[Route]:
    """Return the routes of the reports."""
    return [
        Route("/reports/drift/{report}", guarded(_drift_report)),
        Route("/reports/comparisons/{comparison}", guarded(_comparison_report)),
        Route("/reports/ab/{test}", guarded(_ab_report)),
    ]


async def _drift_report(request: Request) -> Response:
    session = await session_of(request)
    return _report(await session.client.render_drift_report(request.path_params["report"]))


async def _comparison_report(request: Request) -> Response:
    session = await session_of(request)
    return _report(await session.client.render_comparison(request.path_params["comparison"]))


async def _ab_report(request: Request) -> Response:
    session = await session_of(request)
    return _report(await session.client.render_ab_test(request.path_params["test"]))


def _report(content: bytes) -> Response:
    return HTMLResponse(content, headers={"content-security-policy": REPORT_POLICY})


async def report_style(_: Request) -> Response:
    """Return the style that reports and pages share."""
    return FileResponse(REPORT_STYLE)

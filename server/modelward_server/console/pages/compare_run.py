"""A comparison that was begun in the console: its progress, until it has a verdict or fails."""

from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient
from modelward.errors import ComparisonNotFound
from modelward_server.console.compare_runs import Run

TEMPLATE = "compare_run"


@dataclass(frozen=True)
class View:
    """What the page shows."""

    versions: tuple[str, ...]
    fraction: float
    """From 0 to 1."""
    message: str
    """The last completed step."""
    comparison_id: str
    """Empty until there is a verdict."""
    failure: str
    """Why it failed; empty otherwise."""
    form: str
    """The query of the address that shows its form again."""
    command: str


def changes(request: Request) -> Run:
    """Return the comparison of the address, which tells of its changes.

    Raises:
        ComparisonNotFound: it was forgotten, is another user's, or there was none.
    """
    run: Run | None = request.state.runs.find(request.path_params["run"])
    if run is None:
        raise ComparisonNotFound("the console has no such comparison; one that ended is among the stored comparisons")
    return run


async def fetch(client: AsyncClient, request: Request) -> View:
    """Return the page.

    Raises:
        ComparisonNotFound: see `changes`.
    """
    run = changes(request)
    return View(
        versions=run.versions,
        fraction=run.progress.fraction,
        message=run.progress.message,
        comparison_id=run.comparison.comparison_id if run.comparison else "",
        failure=run.error.message if run.error else "",
        form=run.form,
        command=run.command,
    )

"""Which engine runs which version of which model, and why not the expected one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient
from modelward.lifecycle import EngineStatus, EventKind, ModelRollout, RolloutState, VersionRef
from modelward_server.console.pages.lists import ROWS

TEMPLATE = "engines"
FOLLOWS = frozenset({EventKind.ENGINE, EventKind.TRANSITION, EventKind.HALTED, EventKind.RESUMED})
COLUMNS = 30
"""The most engines of the grid."""
SEVERITY = {RolloutState.FAILED: 0, RolloutState.LAGGING: 1, RolloutState.GONE: 2, RolloutState.CONVERGED: 3}


@dataclass(frozen=True)
class Row:
    """One model."""

    model: str
    halted: bool
    expected: VersionRef | None
    """The version that all engines should run; None where there is none or the model is halted."""
    engines: Mapping[str, EngineStatus]
    """The engines of the grid that reported the model, by name."""


@dataclass(frozen=True)
class Problem:
    """An engine that does not run the expected version of a model."""

    model: str
    expected: VersionRef | None
    status: EngineStatus


@dataclass(frozen=True)
class View:
    """What the page shows."""

    prefix: str
    rows: Sequence[Row]
    more: bool
    """Whether there are models after these, which the page does not show."""
    engines: Sequence[str]
    """The columns of the grid, by name."""
    more_engines: int
    """How many engines the grid does not show."""
    counts: Mapping[RolloutState, int]
    """How many pairs of engine and model of the page's models are in each state."""
    problems: Sequence[Problem]
    """The first of those that are not converged, the worst first."""


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the engines of the first models by name; `prefix` in the query is what their names begin with.

    Raises:
        InvalidField: the prefix cannot begin a name.
    """
    prefix = request.query_params.get("prefix", "").strip()
    rollouts = await client.list_rollouts(name_prefix=prefix).page(size=ROWS)
    problems, names = _problems(rollouts.items), _names(rollouts.items)
    shown = sorted(names[:COLUMNS])
    states = [status.state for one in rollouts.items for status in one.rollout.engines]
    return View(
        prefix=prefix,
        rows=[_row(one, shown) for one in rollouts.items],
        more=bool(rollouts.next_page_token),
        engines=shown,
        more_engines=len(names) - len(shown),
        counts={state: states.count(state) for state in SEVERITY},
        problems=problems[:ROWS],
    )


def _row(one: ModelRollout, shown: Sequence[str]) -> Row:
    statuses = {status.engine: status for status in one.rollout.engines if status.engine in shown}
    return Row(one.model, one.halted, one.rollout.expected, statuses)


def _problems(rollouts: Sequence[ModelRollout]) -> list[Problem]:
    found = [
        Problem(one.model, one.rollout.expected, status)
        for one in rollouts
        for status in one.rollout.engines
        if status.state is not RolloutState.CONVERGED
    ]
    return sorted(found, key=lambda one: (SEVERITY[one.status.state], one.model, one.status.engine))


def _names(rollouts: Sequence[ModelRollout]) -> list[str]:
    """Return the engines' names; those with the worst state come first, so that the grid leaves out no problem."""
    worst: dict[str, int] = {}
    for one in rollouts:
        for status in one.rollout.engines:
            worst[status.engine] = min(SEVERITY[status.state], worst.get(status.engine, len(SEVERITY)))
    return sorted(worst, key=lambda name: (worst[name], name))

"""Which engine runs which version of which model, and why not the expected one."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient
from modelward.lifecycle import EngineStatus, Model, Rollout, RolloutState, VersionRef
from modelward_server.console.pages.lists import ROWS, first

TEMPLATE = "engines"
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
    """Whether there may be models after these, which the page does not show."""
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
    models = await first(client.list_models(name_prefix=prefix), ROWS)
    rollouts = await asyncio.gather(*(client.get_rollout(model.name) for model in models))
    pairs = list(zip(models, rollouts, strict=True))
    problems, names = _problems(pairs), _names(pairs)
    shown = sorted(names[:COLUMNS])
    states = [status.state for rollout in rollouts for status in rollout.engines]
    return View(
        prefix=prefix,
        rows=[_row(model, rollout, shown) for model, rollout in pairs],
        more=len(models) == ROWS,
        engines=shown,
        more_engines=len(names) - len(shown),
        counts={state: states.count(state) for state in SEVERITY},
        problems=problems[:ROWS],
    )


def _row(model: Model, rollout: Rollout, shown: Sequence[str]) -> Row:
    statuses = {status.engine: status for status in rollout.engines if status.engine in shown}
    return Row(model.name, model.halt is not None, rollout.expected, statuses)


def _problems(pairs: Sequence[tuple[Model, Rollout]]) -> list[Problem]:
    found = [
        Problem(model.name, rollout.expected, status)
        for model, rollout in pairs
        for status in rollout.engines
        if status.state is not RolloutState.CONVERGED
    ]
    return sorted(found, key=lambda one: (SEVERITY[one.status.state], one.model, one.status.engine))


def _names(pairs: Sequence[tuple[Model, Rollout]]) -> list[str]:
    """Return the engines' names; those with the worst state come first, so that the grid leaves out no problem."""
    worst: dict[str, int] = {}
    for _, rollout in pairs:
        for status in rollout.engines:
            worst[status.engine] = min(SEVERITY[status.state], worst.get(status.engine, len(SEVERITY)))
    return sorted(worst, key=lambda name: (worst[name], name))

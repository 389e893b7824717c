"""The engines of one model as they follow a change: how many have it, and which are missing."""

from collections.abc import Sequence
from dataclasses import dataclass

from starlette.requests import Request

from modelward import AsyncClient
from modelward.lifecycle import EngineStatus, Model, RolloutState, VersionRef
from modelward_server.console.pages.engines import SEVERITY
from modelward_server.console.pages.lists import ROWS

TEMPLATE = "rollout"


@dataclass(frozen=True)
class View:
    """What the page shows."""

    model: Model
    expected: VersionRef | None
    """The version that all engines should run; None where there is none or the model is halted."""
    engines: int
    """How many have reported the model and are not gone."""
    converged: int
    """How many of these run the expected version."""
    missing: Sequence[EngineStatus]
    """The first of those that do not run it, the worst first; also those that are gone."""

    @property
    def done(self) -> bool:
        """Whether nothing is to be waited for."""
        return self.expected is None or self.converged == self.engines


async def fetch(client: AsyncClient, request: Request) -> View:
    """Fetch the page of the model in the address.

    Raises:
        ModelNotFound: there is no such model.
    """
    model = await client.get_model(request.path_params["model"])
    rollout = await client.get_rollout(model.name)
    states = [engine.state for engine in rollout.engines]
    missing = [engine for engine in rollout.engines if engine.state is not RolloutState.CONVERGED]
    missing.sort(key=lambda engine: (SEVERITY[engine.state], engine.engine))
    return View(
        model=model,
        expected=rollout.expected,
        engines=len(states) - states.count(RolloutState.GONE),
        converged=states.count(RolloutState.CONVERGED),
        missing=missing[:ROWS],
    )

"""A desk: a server that authenticates, and a client for each person, with the role and functions of that person."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from modelward import Client, PromotionPolicy, RequiredApproval, Stage
from modelward.caller import Role
from modelward_server.security import grants
from modelward_server.security.admin_session import admin_session
from modelward_server.settings import Settings
from tests.support.running_server import RunningServer

PEOPLE: Mapping[str, tuple[Role, tuple[str, ...]]] = {
    "founder": (Role.ADMIN, ()),
    "quant": (Role.TRAINER, ()),
    "junior": (Role.TRAINER, ()),
    "trader": (Role.OPERATOR, ("trading",)),
    "risk": (Role.VALIDATOR, ("risk",)),
    "both": (Role.VALIDATOR, ("risk", "validation")),
    "compliance": (Role.VIEWER, ("compliance",)),
}
FILE = Path(__file__)
numbers = count(1)


class Desk:
    """A client for each person, on a server that authenticates them."""

    def __init__(self, running: RunningServer) -> None:
        self.running = running
        self.clients = {name: Client(running.target, token=self.token(name)) for name in PEOPLE}

    def __getattr__(self, name: str) -> Client:
        if name in PEOPLE:
            return self.clients[name]
        raise AttributeError(name)

    def token(self, name: str) -> str:
        """Return a token of a person."""
        role, functions = PEOPLE[name]
        with admin_session(self.running.settings) as (session, caller):
            return grants.create_token(session, name, role, (), None, caller, functions)

    def model(self, *functions: str, to: Stage = Stage.PRODUCTION) -> str:
        """Make a model whose transitions these functions approve, with a version in staging."""
        name = f"spx-{next(numbers)}"
        version = self.quant.register(name, FILE)
        if to is Stage.PRODUCTION:
            self.trader.promote(version, to="staging")
        required = (RequiredApproval(functions, to=to),) if functions else ()
        self.founder.set_promotion_policy(PromotionPolicy(name, required_approvals=required))
        return name


@contextmanager
def running_desk(folder: Path, **settings: Any) -> Iterator[Desk]:
    """Run a desk's server with its data in a folder."""
    desk = Desk(RunningServer(Settings(port=0, data_dir=folder, auth=True, **settings)))
    yield desk
    for client in desk.clients.values():
        client.close()
    desk.running.stop()


def run_on(desk: Desk, machine: type[RuleBasedStateMachine], examples: int) -> None:
    """Try orders of calls of 25 steps, by a state machine that finds the desk in its class."""
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        type("OnDesk", (machine,), {"desk": desk}),
        settings=settings(max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=slow),
    )

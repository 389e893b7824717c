"""Who a caller is to the server, where it does not authenticate; tokens, JWTs and certificates have their own files."""

import pytest

from modelward import AsyncClient, Caller, Client, Role
from modelward.shared.convert.caller import role_from_proto
from tests.support.running_server import RunningServer


async def test_without_authentication_the_caller_is_an_admin_by_the_name_that_it_states(client: AsyncClient) -> None:
    assert await client.get_caller() == Caller("tester", Role.ADMIN, (), expires_at=None, authenticated=False)


def test_name_of_a_caller_is_the_one_that_is_recorded(server: RunningServer, name: str) -> None:
    with Client(server.target, actor="Zoë") as client:
        client.create_model(name)
        (record,) = [record for record in client.export_audit_log() if record.model == name]
        assert client.get_caller().name == record.actor == "Zoë"


def test_role_that_only_newer_servers_know_counts_as_the_least() -> None:
    assert role_from_proto(99) is Role.VIEWER  # type: ignore[arg-type]


@pytest.mark.parametrize(("prefixes", "reached"), [((), True), (("spx-", "ndx-"), True), (("ndx-",), False)])
def test_caller_tells_which_models_it_may_reach(prefixes: tuple[str, ...], reached: bool) -> None:
    caller = Caller("ada", Role.VIEWER, prefixes, expires_at=None, authenticated=True)
    assert caller.may_reach("spx-trend") is reached

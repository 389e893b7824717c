"""Limits of the engines that clients report, whose names they may make up."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from modelward import Client, errors
from modelward.caller import Role
from modelward_server.lifecycle import engine_limits
from tests.security.test_tokens import token_of
from tests.support.running_server import RunningServer, servers_in

pytestmark = pytest.mark.system  # Starts servers.

Serve = Callable[..., RunningServer]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with servers_in(tmp_path / "data") as start:
        yield start


def registered(client: Client, tmp_path: Path) -> list[str]:
    (tmp_path / "model.bin").write_bytes(b"model")
    return [str(client.register("spx", tmp_path / "model.bin")) for _ in range(2)]


def test_a_viewer_who_makes_up_engines_is_refused_and_others_are_not(serve: Serve, tmp_path: Path) -> None:
    running = serve(auth=True, client_engines=3, max_engines=5)
    tokens = {name: token_of(running, name, Role.VIEWER) for name in ("eve", "desk", "new")}
    with Client(running.target, token=token_of(running, "ann", Role.TRAINER)) as trainer:
        [version, _] = registered(trainer, tmp_path)
    with (
        Client(running.target, token=tokens["eve"]) as eve,
        Client(running.target, token=tokens["desk"]) as desk,
        Client(running.target, token=tokens["new"]) as new,
    ):
        for number in range(3):
            eve.report_active(version, engine=f"made-up-{number}")
        with pytest.raises(errors.LimitReached, match="eve reports 3 engines, the maximum for one client") as refused:
            eve.report_active(version, engine="made-up-3")
        assert refused.value.metadata == {"limit": "client_engines"}
        eve.report_active(version, engine="made-up-0")
        for number in range(2):
            desk.report_active(version, engine=f"ny4-{number}")
        with pytest.raises(errors.LimitReached, match="the server knows 5 engines, its maximum") as refused:
            new.report_active(version, engine="ld4-0")
        assert refused.value.metadata == {"limit": "max_engines"}
        assert len(desk.get_rollout("spx").engines) == len(desk.list_engine_periods("spx")) == 5


def test_an_engine_that_changes_too_often_is_refused(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_limits, "MAX_PERIODS", 4)
    with Client(serve().target) as client:
        versions = registered(client, tmp_path)
        for number in range(4):
            client.report_active(versions[number % 2], engine="ny4-01")
        with pytest.raises(errors.LimitReached, match="ny4-01 changed its version") as refused:
            client.report_active(versions[0], engine="ny4-01")
        assert refused.value.metadata == {"limit": "engine_periods"}
        client.report_active(versions[1], engine="ny4-01")
        client.report_active(versions[0], engine="ny4-02")
        assert len(client.list_engine_periods("spx", engine="ny4-01")) == 4


def test_no_engine_is_expected_for_longer_than_a_month(serve: Serve, tmp_path: Path) -> None:
    with Client(serve().target) as client:
        [version, _] = registered(client, tmp_path)
        client.report_active(version, engine="ny4-01", silent_after=timedelta(days=30))
        with pytest.raises(errors.InvalidField, match="silent_after"):
            client.report_active(version, engine="ny4-01", silent_after=timedelta(days=31))

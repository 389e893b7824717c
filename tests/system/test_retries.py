"""The server acts, dies before its answer arrives, and comes back: what was asked for once is done once."""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from modelward import AsyncClient, Client, ModelVersion
from tests.support.flaky_proxy import FlakyProxy
from tests.support.forked_server import ForkedServer
from tests.support.waiting import PATIENCE_SECONDS, eventually

MODEL = "spx"


class Outage:
    """A server that is killed as soon as it has done something, before its client hears of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.server = self._serve()
        self.network = FlakyProxy(self.server.target)

    def _serve(self) -> ForkedServer:
        env = {"MODELWARD_ALLOWED_SOURCES": f"{self._folder.as_uri()}/"}
        return ForkedServer(self._folder / "data", self._folder / f"{time.monotonic_ns()}.log", env=env)

    def strike(self, call: Callable[[], Any], done: Callable[[Client], bool]) -> Any:
        """Make a call whose first answer is lost; `done` asks the server itself whether it has acted."""
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(call)
            with Client(self.server.target) as observer:
                eventually(lambda: done(observer))
            self.server.kill()
            self.server = self._serve()
            self.network.target = self.server.target
            self.network.losing_answers = False
            return answer.result(PATIENCE_SECONDS)

    def end(self) -> None:
        self.server.kill()
        self.network.close()


@pytest.fixture
def outage(tmp_path: Path) -> Iterator[Outage]:
    (tmp_path / "model.bin").write_bytes(b"weights")
    outage = Outage(tmp_path)
    yield outage
    outage.end()


Ask = Callable[..., Any]


def ask_sync(network: FlakyProxy, method: str, *args: Any, **kwargs: Any) -> Any:
    with Client(network.address, timeout=PATIENCE_SECONDS) as client:
        client.verify_audit_log()  # The connection stands: from now on only answers are lost.
        network.losing_answers = True
        return getattr(client, method)(*args, **kwargs)


def ask_async(network: FlakyProxy, method: str, *args: Any, **kwargs: Any) -> Any:
    async def asked() -> Any:
        async with AsyncClient(network.address, timeout=PATIENCE_SECONDS) as client:
            await client.verify_audit_log()
            network.losing_answers = True
            return await getattr(client, method)(*args, **kwargs)

    return asyncio.run(asked())


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
def test_registration_whose_answer_was_lost_makes_one_version(outage: Outage, tmp_path: Path, ask: Ask) -> None:
    with Client(outage.server.target) as client:
        client.create_model(MODEL)
    uri = (tmp_path / "model.bin").as_uri()
    data = {"momentum": [0.5, -0.5, 1.5]}
    version = outage.strike(
        lambda: ask(outage.network, "register_uri", MODEL, uri, reference=data), lambda seen: bool(versions(seen))
    )
    with Client(outage.server.target) as client:
        # MLflow's part may have come in meanwhile, so not all that is said of it needs to be the same.
        assert [(one.ref, one.created_at) for one in versions(client)] == [(version.ref, version.created_at)]
        assert version.references == ("default",)
        assert client.get_reference(version).rows == 3


@pytest.mark.parametrize("ask", [ask_sync, ask_async])
def test_promotion_whose_answer_was_lost_happens_once_and_is_no_error(outage: Outage, tmp_path: Path, ask: Ask) -> None:
    with Client(outage.server.target) as client:
        version = client.register_uri(MODEL, (tmp_path / "model.bin").as_uri())
    moved = outage.strike(
        lambda: ask(outage.network, "promote", version, to="staging", reason="ready"),
        lambda seen: versions(seen)[0].stage == "staging",
    )
    with Client(outage.server.target) as client:
        [move] = [move for move in client.list_transitions(MODEL) if move.to_stage == "staging"]
        assert move == moved.transition
        assert client.verify_audit_log().intact


def versions(client: Client) -> list[ModelVersion]:
    return list(client.list_versions(MODEL))

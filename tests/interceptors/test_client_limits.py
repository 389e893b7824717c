"""Limits of each client through a real server: who is over one is told which, and how long to wait."""

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelward import AsyncClient, Client, errors
from modelward.caller import Role
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.interceptors import client_limits
from tests.security.test_tokens import GRPCURL, token_of
from tests.support.running_server import RunningServer, servers_in
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Each test starts a server with limits, and waits for them.

Serve = Callable[..., RunningServer]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start servers with the limits that a test needs."""
    with servers_in(tmp_path / "data") as start:
        yield start


def spend(target: str, calls: int) -> grpc.RpcError | None:
    """Call as often as is said without a pause, and return the first refusal."""
    with grpc.insecure_channel(target) as channel:
        stub = LifecycleServiceStub(channel)
        for _ in range(calls):
            try:
                stub.ListModels(pb.ListModelsRequest())
            except grpc.RpcError as error:
                return error
    return None


def use_up(client: Client) -> None:
    for _ in range(60):
        list(client.list_models())


def retry_delay(error: Any) -> float:
    trailers = dict(error.trailing_metadata())
    asked = RetryInfo()
    assert any(detail.Unpack(asked) for detail in Status.FromString(trailers["grpc-status-details-bin"]).details)
    return float(asked.retry_delay.ToTimedelta().total_seconds())


async def test_a_client_over_its_rate_is_told_how_long_to_wait_and_the_sdk_waits(serve: Serve) -> None:
    server = serve(client_rate=1.0)
    error: Any = spend(server.target, 60)  # Ten at once, and what comes while they are made.
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "MODELWARD_CLIENT_RATE" in error.details()
    assert 0 < retry_delay(error) <= 1
    async with AsyncClient(server.target) as client:
        assert [model async for model in client.list_models()] == []
    with Client(server.target) as client:
        assert list(client.list_models()) == []
    slow = serve(client_rate=0.01)
    spend(slow.target, 60)
    with Client(slow.target, timeout=30) as client, pytest.raises(errors.LimitReached):
        use_up(client)  # A wait that the deadline does not allow is not begun.


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_watch_that_is_refused_for_its_rate_begins_when_it_may(serve: Serve, kind: str) -> None:
    server = serve(client_rate=1.0)
    async with AsyncClient(server.target) as client:
        await client.create_model("spx")
        assert spend(server.target, 60) is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            if kind == "async":
                assert (await anext(client.watch(["spx"]))).model == "spx"
            else:
                assert await asyncio.to_thread(first_event, server.target) == "spx"


def first_event(target: str) -> str:
    with Client(target) as client:
        return next(client.watch(["spx"])).model


def test_health_and_what_stops_losses_are_never_limited(serve: Serve) -> None:
    server = serve(client_rate=0.01, client_calls=1, client_streams=1)
    with Client(server.target, timeout=60) as client:
        client.create_model("spx")
        with pytest.raises(errors.LimitReached) as caught:
            client.get_model("spx")
        assert caught.value.metadata == {"limit": "client_rate"}
        assert caught.value.retry_seconds == pytest.approx(100, abs=30)
        assert client.halt("spx", reason="it loses money") is not None
        assert client.halt_many(prefix="spx", reason="they lose money").already_halted
    with grpc.insecure_channel(server.target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for _ in range(20):
            assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING


async def test_streams_are_counted_apart_from_calls(serve: Serve) -> None:
    server = serve(client_streams=2, client_calls=1)
    async with AsyncClient(server.target) as client:
        await client.create_model("spx")
        first, second = client.watch(["spx"]), client.watch(["spx"])
        assert (await anext(first)).model == (await anext(second)).model == "spx"
        with pytest.raises(errors.LimitReached, match="2 open streams") as caught:
            await anext(client.watch(["spx"]))
        assert (caught.value.metadata, caught.value.retry_seconds) == ({"limit": "client_streams"}, None)
        assert (await client.get_model("spx")).name == "spx"
        await first.aclose()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await _opened(client)
        await second.aclose()


async def _opened(client: AsyncClient) -> None:
    """Open a watch as soon as the server has noticed that another ended."""
    while True:
        try:
            watch = client.watch(["spx"])
            await anext(watch)
            return await watch.aclose()
        except errors.LimitReached:
            await asyncio.sleep(0.01)


async def test_calls_under_way_are_limited_for_each_client_by_name(serve: Serve) -> None:
    server = serve(client_calls=1, auth=True)
    ada, bob = (token_of(server, name, Role.ADMIN) for name in ("ada", "bob"))
    async with AsyncClient(server.target, token=ada) as one, AsyncClient(server.target, token=bob) as another:
        await one.create_model("spx")
        waiting = asyncio.create_task(_wait_for_a_job(one))
        with pytest.raises(errors.LimitReached, match="ada has 1 calls under way"):
            await _refused(one)
        assert (await another.get_model("spx")).name == "spx"
        waiting.cancel()


async def _wait_for_a_job(client: AsyncClient) -> None:
    while True:
        with suppress(errors.LimitReached):  # The other call was there first.
            await client.lease_job("spx", holder="w", wait=timedelta(seconds=30))


async def _refused(client: AsyncClient) -> None:
    """Call until the other call of the client has arrived."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            await client.get_model("spx")


def test_what_is_kept_of_clients_is_bounded() -> None:
    rate = client_limits.RateLimiter(1000.0)
    for number in range(client_limits.CLIENTS_KEPT + 100):
        rate.take(f"client-{number}")
    assert len(rate) <= client_limits.CLIENTS_KEPT
    time.sleep(0.002)
    assert len(rate) == 0  # Their buckets are full again, so there is nothing to remember.


def test_a_message_above_what_grpc_takes_is_refused_with_its_size(serve: Serve) -> None:
    with Client(serve().target) as client, pytest.raises(errors.MessageTooLarge, match="as a stream"):
        client.create_model("spx", description="x" * (65 << 20))


def test_grpcurl_shows_the_limit(serve: Serve) -> None:
    server = serve(client_rate=0.01)
    line = [GRPCURL, "-plaintext", server.target, "modelward.v1.LifecycleService/ListModels"]
    subprocess.run(line, check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    refused = subprocess.run(line, check=False, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert "ResourceExhausted" in refused.stderr
    assert "LIMIT_REACHED" in refused.stderr

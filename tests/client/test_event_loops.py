"""A client may be made anywhere, also where no event loop runs yet, and used in one loop after another."""

import asyncio
import threading
from collections.abc import Iterator

import grpc
import pytest

from modelward import AsyncClient, Client, errors
from modelward.v1 import lifecycle_pb2 as pb
from tests.client.test_closing import open_things
from tests.support.misbehaving_server import MisbehavingServer
from tests.support.waiting import PATIENCE_SECONDS, eventually


@pytest.fixture
def answering(odd: MisbehavingServer) -> MisbehavingServer:
    def get_model(request: pb.GetModelRequest, _: grpc.ServicerContext) -> Iterator[pb.GetModelResponse]:
        yield pb.GetModelResponse(model=pb.Model(name=request.model))

    odd.answers["GetModel"] = get_model
    return odd


async def name_of(client: AsyncClient, name: str) -> str:
    return (await client.get_model(name)).name


def test_async_client_made_outside_a_loop_is_used_in_several_one_after_another(answering: MisbehavingServer) -> None:
    client = AsyncClient(answering.target, timeout=PATIENCE_SECONDS)
    assert [asyncio.run(name_of(client, name)) for name in ("a", "b", "c")] == ["a", "b", "c"]
    asyncio.run(client.close())
    with pytest.raises(errors.FailedPrecondition, match="the client is closed"):
        asyncio.run(name_of(client, "d"))


@pytest.mark.system
def test_channels_of_loops_that_ended_leave_nothing_open(answering: MisbehavingServer) -> None:
    AsyncClient(answering.target)  # One that is never used opens nothing.
    client = AsyncClient(answering.target, timeout=PATIENCE_SECONDS)
    asyncio.run(name_of(client, "a"))
    before = open_things()
    for _ in range(5):
        asyncio.run(name_of(client, "a"))
    asyncio.run(client.close())
    eventually(lambda: open_things() <= before)


def test_async_client_that_another_loop_is_using_says_so(answering: MisbehavingServer) -> None:
    client = AsyncClient(answering.target, timeout=PATIENCE_SECONDS)
    used, done = threading.Event(), threading.Event()

    async def use() -> None:
        await client.get_model("a")
        used.set()
        await asyncio.to_thread(done.wait)
        assert await name_of(client, "b") == "b"  # The other loop's attempt has not harmed it.

    using = threading.Thread(target=asyncio.run, args=[use()])
    using.start()
    used.wait()
    with pytest.raises(errors.FailedPrecondition, match="another event loop is using this client"):
        asyncio.run(name_of(client, "c"))
    with pytest.raises(errors.FailedPrecondition, match="another event loop is using this client"):
        asyncio.run(client.close())
    done.set()
    using.join()
    assert asyncio.run(name_of(client, "d")) == "d"


def test_async_client_is_closed_by_its_block_in_whatever_loop_that_is(answering: MisbehavingServer) -> None:
    client = AsyncClient(answering.target, timeout=PATIENCE_SECONDS)
    asyncio.run(name_of(client, "a"))

    async def use() -> str:
        async with client:
            return await name_of(client, "b")

    assert asyncio.run(use()) == "b"


def test_sync_client_made_in_one_thread_is_used_in_others(answering: MisbehavingServer) -> None:
    names: list[str] = []
    with Client(answering.target, timeout=PATIENCE_SECONDS) as client:

        async def use() -> None:
            names.append((await asyncio.to_thread(client.get_model, "a")).name)
            names.append(client.get_model("b").name)

        for _ in range(2):
            asyncio.run(use())
    assert names == ["a", "b"] * 2

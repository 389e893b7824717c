"""Lists: sequences that request the pages they need, and no more."""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
import pytest

from modelward import AsyncClient, Client, Model, errors
from modelward.v1 import lifecycle_pb2 as pb
from tests.support.misbehaving_server import MisbehavingServer
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

NAMES = [f"m-{number}<script>" for number in range(25)]
PAGE = 10


@pytest.fixture
def pages(odd: MisbehavingServer) -> list[str]:
    """The tokens of the pages that were requested, of a list with three pages."""
    requested: list[str] = []

    def answer(request: pb.ListModelsRequest, _: grpc.ServicerContext) -> Iterator[Any]:
        requested.append(request.page_token)
        start = int(request.page_token or 0)
        models = [pb.Model(name=name, tags={"<script>": "<script>"}) for name in NAMES[start : start + PAGE]]
        following = str(start + PAGE) if start + PAGE < len(NAMES) else ""
        yield pb.ListModelsResponse(models=models, next_page_token=following)

    odd.answers["ListModels"] = answer
    return requested


@pytest.fixture
def client(odd: MisbehavingServer) -> Iterator[Client]:
    with Client(odd.target, timeout=PATIENCE_SECONDS) as client:
        yield client


def names(models: Sequence[Model]) -> list[str]:
    return [model.name for model in models]


def test_list_requests_nothing_until_it_is_used(client: Client, pages: list[str]) -> None:
    assert repr(client.list_models()) == "Pager(not fetched yet)"
    assert pages == []


@pytest.mark.parametrize(
    ("use", "result", "requested"),
    [
        (lambda models: models[0].name, NAMES[0], [""]),
        (lambda models: models[PAGE].name, NAMES[PAGE], ["", "10"]),
        (lambda models: names(models[:3]), NAMES[:3], [""]),
        (lambda models: names(models[8:12:2]), NAMES[8:12:2], ["", "10"]),
        (lambda models: names(models[5:2]), [], [""]),
        (lambda models: names(models[20:]), NAMES[20:], ["", "10", "20"]),
        (lambda models: names(models[::-1]), NAMES[::-1], ["", "10", "20"]),
        (lambda models: models[-1].name, NAMES[-1], ["", "10", "20"]),
        (bool, True, [""]),
        (len, 25, ["", "10", "20"]),
        (lambda models: next(iter(models)).name, NAMES[0], [""]),
        (names, NAMES, ["", "10", "20"]),
        (lambda models: len(models.to_pandas()), 25, ["", "10", "20"]),
        (lambda models: len(models.to_dict()["items"]), 25, ["", "10", "20"]),
    ],
)
def test_list_requests_the_pages_that_the_answer_needs(
    client: Client, pages: list[str], use: Callable[[Any], Any], result: Any, requested: list[str]
) -> None:
    assert use(client.list_models()) == result
    assert pages == requested


def test_list_keeps_what_it_was_asked_for_and_goes_on_from_there(client: Client, pages: list[str]) -> None:
    models = client.list_models()
    assert models[0].name == NAMES[0]
    assert repr(models) == "Pager(10 items so far)"
    assert names(list(models)) == NAMES
    assert len(models) == 25
    assert repr(models) == "Pager(25 items)"
    assert models[3] in models
    assert pages == ["", "10", "20"]


def test_list_that_is_iterated_again_is_read_again(client: Client, pages: list[str]) -> None:
    models = client.list_models()
    for _ in range(2):
        assert [model.name for model in models] == NAMES
    assert pages == ["", "10", "20"] * 2


def test_index_beyond_the_end_is_an_index_error(client: Client, pages: list[str]) -> None:
    with pytest.raises(IndexError):
        client.list_models()[25]


def test_notebook_shows_the_first_rows_of_a_list_escaped(client: Client, pages: list[str]) -> None:
    html = client.list_models()._repr_html_()
    assert pages == ["", "10"]
    assert html.count("<tr>") == 21
    assert "m-19&lt;script&gt;" in html
    assert html.endswith("<p>… more</p></div>")
    assert not re.search("<script", html)


def test_list_of_a_closed_client_has_no_length(client: Client, odd: MisbehavingServer) -> None:
    client.close()
    for use in (len, bool, list):
        with pytest.raises(errors.FailedPrecondition, match="the client is closed"):
            use(client.list_models())


async def test_async_list_is_iterated_page_by_page(odd: MisbehavingServer, pages: list[str]) -> None:
    async with AsyncClient(odd.target, timeout=PATIENCE_SECONDS) as client:
        async for model in client.list_models():
            assert model.name == NAMES[0]
            break
        assert pages == [""]
        assert [model.name async for model in client.list_models()] == NAMES


async def test_async_list_is_a_sequence_once_it_was_awaited(odd: MisbehavingServer, pages: list[str]) -> None:
    async with AsyncClient(odd.target, timeout=PATIENCE_SECONDS) as client:
        models = await client.list_models()
        assert (len(models), models[0].name, models[-1].name, names(models[:2])) == (25, *NAMES[::24], NAMES[:2])
        assert names(list(models)) == [model.name async for model in models] == NAMES
        assert len(models.to_pandas()) == len(models.to_dict()["items"]) == 25
        assert pages == ["", "10", "20"]
        assert await models is models
        assert repr(models) == "AsyncPager(25 items)"
        assert models._repr_html_().endswith("<p>… 5 more</p></div>")


async def test_async_list_that_two_tasks_await_has_each_item_once(odd: MisbehavingServer, pages: list[str]) -> None:
    async with AsyncClient(odd.target, timeout=PATIENCE_SECONDS) as client:
        models = client.list_models()

        async def wait() -> int:
            return len(await models)

        assert [*await asyncio.gather(wait(), wait())] == [25, 25]


async def test_async_list_says_that_it_must_be_awaited(odd: MisbehavingServer, pages: list[str]) -> None:
    async with AsyncClient(odd.target, timeout=PATIENCE_SECONDS) as client:
        models = client.list_models()
        uses: list[Callable[[Any], Any]] = [len, bool, list, lambda found: found[0], lambda found: found.to_pandas()]
        for use in uses:
            with pytest.raises(RuntimeError, match="`await` it first, or iterate with `async for`"):
                use(models)
        assert "AsyncPager(not fetched yet)" in models._repr_html_()
    assert pages == []


async def test_list_of_a_real_server_has_a_length(server: RunningServer, name: str) -> None:
    async with AsyncClient(server.target) as client:
        await client.create_model(f"{name}.a")
        await client.create_model(f"{name}.b")
        models = await client.list_models(name_prefix=f"{name}.")
        assert (len(models), models[0].name) == (2, f"{name}.a")
        assert not await client.list_models(name_prefix=f"{name}.c")

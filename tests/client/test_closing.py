"""What is closed stays closed, in words, and leaves nothing open."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelward import AsyncClient, Client, errors
from modelward.v1 import lifecycle_pb2 as pb
from tests.client.test_odd_answers import CALLS, collected, settled
from tests.client.test_odd_downloads import file
from tests.support.misbehaving_server import MisbehavingServer
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.system  # Waits for connections to close.


def open_things() -> tuple[int, int]:
    """Return how many sockets and followers' threads this process has."""
    gc.collect()
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    sockets = sum(link.startswith("socket:") for link in links)
    return sockets, sum(1 for thread in threading.enumerate() if thread.name == "modelward-follow")


@pytest.mark.parametrize("call", CALLS)
def test_every_call_of_a_closed_client_says_so(odd: MisbehavingServer, call: str) -> None:
    client = Client(odd.target, timeout=1)
    client.close()
    client.close()
    with pytest.raises(errors.FailedPrecondition, match="the client is closed"):
        collected(CALLS[call](client))
    assert odd.asked == []


async def test_every_call_of_a_closed_async_client_says_so(odd: MisbehavingServer) -> None:
    client = AsyncClient(odd.target, timeout=1)
    await client.close()
    await client.close()
    for name, call in CALLS.items():
        with pytest.raises(errors.FailedPrecondition, match="the client is closed"):
            await settled(call(client))
        assert odd.asked == [], name


@pytest.mark.parametrize("kind", [Client, AsyncClient])
async def test_nothing_is_followed_after_the_end(odd: MisbehavingServer, kind: type[Any]) -> None:
    client = kind(odd.target)
    closing = client.close()
    if closing:
        await closing
    with pytest.raises(errors.FailedPrecondition, match="the client is closed"):
        client.follow("m")


IN_FLIGHT = ["get_model", "watch", "export_audit_log", "compare", "detect_drift of much", "observe"]


@pytest.mark.parametrize("call", IN_FLIGHT)
async def test_closing_ends_what_is_under_way(odd: MisbehavingServer, call: str) -> None:
    for name in ("GetModel", "WatchModels", "ExportAuditLog", "CompareModels", "DetectDriftStream", "Observe"):
        odd.answers[name] = lambda *_: odd.silence()
    with pytest.raises(errors.FailedPrecondition, match="the client is closed"):
        await asyncio.to_thread(_close_under, odd, Client(odd.target, timeout=PATIENCE_SECONDS), CALLS[call])
    odd.asked.clear()
    client = AsyncClient(odd.target, timeout=PATIENCE_SECONDS)
    waiting = asyncio.ensure_future(settled(CALLS[call](client)))
    await asyncio.to_thread(eventually, lambda: bool(odd.asked))
    await client.close()
    with pytest.raises(errors.FailedPrecondition, match="the client is closed"):
        await waiting


async def test_task_that_is_cancelled_stays_cancelled(odd: MisbehavingServer) -> None:
    odd.answers["GetModel"] = odd.answers["WatchModels"] = lambda *_: odd.silence()
    async with AsyncClient(odd.target, timeout=PATIENCE_SECONDS) as client:
        for call in ("get_model", "watch"):
            odd.asked.clear()
            waiting = asyncio.ensure_future(settled(CALLS[call](client)))
            await asyncio.to_thread(eventually, lambda: bool(odd.asked))
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting


def _close_under(odd: MisbehavingServer, client: Client, call: Callable[[Any], Any]) -> None:
    def close() -> None:
        eventually(lambda: bool(odd.asked))
        client.close()

    closing = threading.Thread(target=close)
    closing.start()
    try:
        collected(call(client))
    finally:
        closing.join()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_follower_that_cannot_start_leaves_nothing_open(
    odd: MisbehavingServer, kind: str, tmp_path: Path
) -> None:
    def load(*_: object) -> None:
        raise RuntimeError("no model")

    odd.has(file("f"))
    odd.sends(b"x")
    (tmp_path / "open").mkdir(mode=0o777)
    (tmp_path / "open").chmod(0o777)
    await _try_following(kind, odd.target, load, tmp_path)
    before = open_things()
    for _ in range(5):
        await _try_following(kind, odd.target, load, tmp_path)
    await asyncio.to_thread(eventually, lambda: open_things() <= before)


async def _try_following(kind: str, target: str, load: Any, folder: Path) -> None:
    """Follow with a loader that fails, a cache that is refused, a server that is not there, and not at all."""
    with pytest.raises(RuntimeError):
        await _enter(kind, target, cache=folder / "cache", load=load)
    with pytest.raises(errors.InvalidField):
        await _enter(kind, target, cache=folder / "open")
    with pytest.raises((errors.Unavailable, errors.DeadlineExceeded)):
        await _enter(kind, "127.0.0.1:1", cache=folder / "none")
    with pytest.raises(errors.InvalidField):
        await _enter(kind, target, cache=folder / "cache", stage="nonsense")


async def _enter(kind: str, target: str, **options: Any) -> None:
    timeout = 0.3 if target.endswith(":1") else 20
    if kind == "async":
        async with AsyncClient(target, timeout=timeout) as client, client.follow("m", **options):
            return
    with Client(target, timeout=timeout) as other, other.follow("m", **options):
        return


def test_clients_and_followers_that_are_never_used_leave_nothing_open(odd: MisbehavingServer) -> None:
    before = open_things()
    with pytest.raises(errors.InvalidField):
        Client(odd.target, actor="a\nb")
    with pytest.raises(errors.InvalidField, match="over TLS only"):
        Client("models.example:1", token="secret")
    with Client(odd.target) as client:
        for _ in range(5):
            client.follow("m")
    assert open_things() <= before


def test_follower_may_be_entered_again(odd: MisbehavingServer, tmp_path: Path) -> None:
    odd.has(file("f"))
    odd.sends(b"x")
    with Client(odd.target, timeout=PATIENCE_SECONDS) as client:
        follower = client.follow("m", cache=tmp_path)
        for _ in range(2):
            with follower as live:
                assert live.current.version.version == 1


@pytest.mark.parametrize("status", [grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.INVALID_ARGUMENT])
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_token_that_is_not_known_any_more_is_dropped(
    odd: MisbehavingServer, kind: str, status: grpc.StatusCode, tmp_path: Path
) -> None:
    tokens: list[str] = []

    def watch(request: pb.WatchModelsRequest, context: grpc.ServicerContext) -> Iterator[Any]:
        tokens.append(request.resume_token)
        if request.resume_token == "old":
            context.abort(status, "not known")
        if len(tokens) == 1:
            yield pb.WatchModelsResponse()  # Without an event it says nothing, and is no failure.
            yield pb.WatchModelsResponse(events=[pb.ModelEvent(sequence=1, resume_token="old")])
        else:
            yield from odd.silence()

    odd.has(file("f"))
    odd.sends(b"x")
    odd.answers["WatchModels"] = watch
    if kind == "async":
        async with AsyncClient(odd.target, timeout=PATIENCE_SECONDS) as client, client.follow("m", cache=tmp_path):
            await asyncio.to_thread(eventually, lambda: len(tokens) >= 3)
    else:
        with Client(odd.target, timeout=PATIENCE_SECONDS) as other, other.follow("m", cache=tmp_path):
            await asyncio.to_thread(eventually, lambda: len(tokens) >= 3)
    assert tokens == ["", "old", ""]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_answer_about_another_model_is_not_followed(odd: MisbehavingServer, kind: str, tmp_path: Path) -> None:
    odd.has(file("f"), model="other")
    with pytest.raises(errors.UnexpectedError, match="'m' is followed, but the server returned 'other'"):
        await _enter(kind, odd.target, cache=tmp_path)

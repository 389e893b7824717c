"""Deadlines on a real server: every call has one, and what is not done by then is not done later."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from modelward import AsyncClient, Client, errors
from modelward.shared.retry import error_of
from modelward.v1 import lifecycle_pb2, retraining_pb2
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward.v1.retraining_pb2_grpc import RetrainingServiceStub
from modelward_server.interceptors import deadlines
from modelward_server.interceptors.base import Behavior, Call
from modelward_server.settings import Settings
from modelward_server.storage import audit
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

CALL_SECONDS = 0.3


@pytest.fixture(scope="module", params=DATABASES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    url = new_database(request.getfixturevalue("postgres")) if request.param == "postgresql" else ""
    folder = tmp_path_factory.mktemp("data")
    running = RunningServer(Settings(port=0, data_dir=folder, database_url=url, call_seconds=CALL_SECONDS))
    yield running
    running.stop()


@contextmanager
def writers_waiting(server: RunningServer) -> Iterator[None]:
    """Keep every writer waiting, as a slow one before them would."""
    with server.app.ledger.writing() as session:
        audit.lock_log(session)
        yield


@pytest.mark.parametrize("own", [None, CALL_SECONDS])
async def test_a_change_whose_deadline_passed_is_not_made_later(server: RunningServer, own: float | None) -> None:
    request = lifecycle_pb2.CreateModelRequest(model=f"m-{uuid4()}", request_id=str(uuid4()))
    with grpc.insecure_channel(server.target) as channel:
        stub = LifecycleServiceStub(channel)
        with writers_waiting(server):
            with pytest.raises(grpc.RpcError) as caught:
                stub.CreateModel(request, timeout=own)
            for _ in range(20):  # The client may hear of its deadline before the server does.
                stub.ListModels(lifecycle_pb2.ListModelsRequest(), timeout=PATIENCE_SECONDS)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with AsyncClient(server.target) as client:
            await client.create_model(f"m-{uuid4()}")  # Has its turn behind the one that was given up.
            with pytest.raises(errors.ModelNotFound):
                await client.get_model(request.model)
        assert stub.CreateModel(request, timeout=PATIENCE_SECONDS).model.name == request.model
    if own is None:
        assert "had no deadline, and the server ends such calls after 0.3 s" in str(caught.value.details())


def test_streams_and_who_waits_for_a_job_may_take_longer(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deadlines are noted and not kept: what one means is shown above, and a machine may be too slow for any."""
    given: list[float] = []

    async def note(inner: Behavior, call: Call, seconds: float) -> Any:
        given.append(seconds)
        return await inner(call)

    monkeypatch.setattr(deadlines, "_in_time", note)
    wait = Duration()
    wait.FromMilliseconds(200)
    with Client(server.target) as client, grpc.insecure_channel(server.target) as channel:
        client.create_model(model := f"m-{uuid4()}")
        watch = LifecycleServiceStub(channel).WatchModels(lifecycle_pb2.WatchModelsRequest(models=[model]))
        next(watch)
        with pytest.raises(grpc.RpcError) as caught:
            RetrainingServiceStub(channel).LeaseJob(retraining_pb2.LeaseJobRequest(model=model, holder="w", wait=wait))
        assert isinstance(error_of(caught.value), errors.NotDue)
        assert given == [pytest.approx(CALL_SECONDS + 0.2)]  # The stream has none.
        client.halt(model, reason="a change")
        assert next(watch).events[0].model == model
        watch.cancel()

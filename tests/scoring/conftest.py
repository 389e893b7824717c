"""A server that scores, and clients on it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelward import AsyncClient, Client, ModelVersion
from modelward_server.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub
from modelward_server.settings import Settings
from tests.support.clients import as_async
from tests.support.inference_models import NUMBER, in_production
from tests.support.running_server import RunningServer


@pytest.fixture(scope="module")
def scoring_settings() -> dict[str, object]:
    """Settings of the server, which a module may replace."""
    return {}


@pytest.fixture(scope="module")
def scoring_server(
    tmp_path_factory: pytest.TempPathFactory, scoring_settings: dict[str, object]
) -> Iterator[RunningServer]:
    given = {"scoring_processes": 32, "allow_pickle": True, **scoring_settings}
    running = RunningServer(Settings.model_validate({"port": 0, "data_dir": tmp_path_factory.mktemp("data"), **given}))
    yield running
    running.stop()


@pytest.fixture(params=["sync", "async"])
async def scorer(request: pytest.FixtureRequest, scoring_server: RunningServer) -> AsyncIterator[AsyncClient]:
    """Both clients, with the face of the async one."""
    if request.param == "async":
        async with AsyncClient(scoring_server.target, actor="tester") as client:
            yield client
    else:
        with Client(scoring_server.target, actor="tester") as client:
            yield as_async(client)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture(scope="module")
def scoring_sdk(scoring_server: RunningServer) -> Iterator[Client]:
    """A client of the server that scores."""
    with Client(scoring_server.target, actor="tester") as client:
        yield client


@pytest.fixture(scope="module")
def inference(scoring_server: RunningServer) -> Iterator[Any]:
    """A stub of the Open Inference Protocol."""
    with grpc.insecure_channel(scoring_server.target) as channel:
        yield GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def number(scoring_sdk: Client) -> ModelVersion:
    """A version in production that predicts numbers."""
    return in_production(scoring_sdk, NUMBER)

"""Page tokens from anywhere: each is of the list, or is refused as a wrong field."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from modelward import Client
from modelward.errors import InvalidField
from modelward.shared.retry import error_of
from tests.support.fuzz_requests import RawCaller, methods
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

LISTS = [method for method in methods() if "page_token" in method.input_type.fields_by_name]
FORGED: list[list[object]] = [
    [],
    [None],
    [True],
    [1.5],
    [float("nan")],
    [1 << 40],
    [1 << 70],
    [-(1 << 63)],
    [[1]],
    ["a"],
    ["a\0"],
    ["\ud800"],
    ["a", "b"],
    ["a", 1 << 40],
    ["a", 1, 2],
    [{"instant": "0001-01-01T00:00:00"}],
    [{"instant": "0001-01-01T00:00:00+14:00"}],
    [{"instant": "9999-12-31T23:59:59-14:00"}],
    [{"instant": "0001-01-01T00:00:00+00:00"}],
    [{"instant": "0001-01-01T00:00:00+00:00"}, "a\0"],
]
GARBAGE = ["x", "=", "é", "\0", "A" * 1024, "W10=", "bnVsbA==", "IiI=", "e30=", "/w==", "WyJhIl0"]
DEEP = urlsafe_b64encode(b"[" * 760).decode()


@pytest.fixture(scope="module")
def model(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("model") / "model.bin"
    path.write_bytes(b"model")
    with Client(server.target) as client:
        yield client.register("page-tokens", path).model


def _request(method: Any, model: str, token: str) -> bytes:
    request: Any = GetMessageClass(method.input_type)()
    for one in method.input_type.fields:
        if one.name == "model":
            request.model = model
        elif one.name == "version" and one.message_type:
            request.version.model, request.version.version = model, 1
    request.page_token = token
    message: Message = request
    return message.SerializeToString()


@pytest.mark.system
@pytest.mark.parametrize("method", LISTS, ids=lambda method: str(method.name))
def test_token_that_is_none_is_refused(server: RunningServer, model: str, method: Any) -> None:
    with grpc.insecure_channel(server.target) as channel:
        for token in [*GARBAGE, DEEP]:
            call: Any = channel.unary_unary(f"/{method.containing_service.full_name}/{method.name}")
            with pytest.raises(grpc.RpcError) as refused:
                call(_request(method, model, token), timeout=PATIENCE_SECONDS)
            error = error_of(refused.value)
            assert isinstance(error, InvalidField), (token, error)
            assert error.violations[0].field == "page_token"


@pytest.mark.system
@pytest.mark.parametrize("method", LISTS, ids=lambda method: str(method.name))
def test_token_with_a_forged_key_is_none_of_the_servers_faults(server: RunningServer, model: str, method: Any) -> None:
    answers = {}
    with grpc.insecure_channel(server.target) as channel:
        for last in FORGED:
            token = urlsafe_b64encode(json.dumps(last).encode()).decode()
            answers[token] = RawCaller(channel, 30).call(method, [_request(method, model, token)])
    assert set(answers.values()) == {grpc.StatusCode.INVALID_ARGUMENT}, answers


def test_token_of_the_server_itself_goes_on(server: RunningServer, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"model")
    with Client(server.target) as client:
        for i in range(3):
            client.register(f"page-tokens-{i}", tmp_path / "model.bin")
    stub = next(method for method in LISTS if method.name == "ListModels")
    with grpc.insecure_channel(server.target) as channel:
        call: Any = channel.unary_unary(f"/{stub.containing_service.full_name}/{stub.name}")
        request: Any = GetMessageClass(stub.input_type)(name_prefix="page-tokens-", page_size=1)
        found: list[str] = []
        while not found or request.page_token:
            page: Any = GetMessageClass(stub.output_type).FromString(
                call(request.SerializeToString(), timeout=PATIENCE_SECONDS)
            )
            found += [one.name for one in page.models]
            request.page_token = page.next_page_token
    assert found == [f"page-tokens-{i}" for i in range(3)]

"""Rows that decode to much are refused, and what takes long is done beside the event loop, which answers others."""

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pytest

from modelward import ModelVersion, errors
from modelward.shared.retry import error_of
from modelward.v1 import common_pb2
from modelward.v1 import scoring_pb2 as pb
from modelward.v1.scoring_pb2_grpc import ScoringServiceStub
from modelward_server.oip import open_inference_pb2
from modelward_server.rpc import scoring, scoring_limits
from modelward_server.rpc.datasets import join_batches
from modelward_server.rpc.scoring_answers import scores_to_proto
from modelward_server.sandbox.score_request import Rows
from tests.support.decompression_bombs import ZSTD, arrow
from tests.support.inference_models import ROWS
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Takes seconds.

FEATURES = list(ROWS.columns)
MANY = 200_000


def zeros(rows: int) -> bytes:
    return arrow(pa.table({name: np.zeros(rows) for name in FEATURES}), ZSTD)


def score(server: RunningServer, **rows: Any) -> Any:
    with grpc.insecure_channel(server.target, options=[("grpc.max_receive_message_length", -1)]) as channel:
        stub: Any = ScoringServiceStub(channel)
        try:
            return stub.Score(pb.ScoreRequest(**rows), timeout=PATIENCE_SECONDS)
        except grpc.RpcError as error:
            raise error_of(error) from None


def column(rows: int) -> common_pb2.Column:
    return common_pb2.Column(name="a", bools=common_pb2.BoolValues(values=[False] * rows))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"arrow_ipc": zeros(1_000_001)}, "has more than 1,000,000 rows"),
        ({"arrow_ipc": zeros(3_000_000)}, "decodes to more than 64 MiB"),
        ({"arrow_ipc": arrow(pa.table({name: np.zeros(3_000_000) for name in FEATURES}), ZSTD, 10_000)}, "more than"),
        ({"columns": common_pb2.ColumnTable(columns=[column(1_000_001)])}, "has more than 1,000,000 rows"),
    ],
    ids=["rows", "bytes", "many batches", "columns"],
)
def test_rows_that_are_too_many_are_refused(
    scoring_server: RunningServer, number: ModelVersion, rows: dict[str, Any], said: str
) -> None:
    with pytest.raises(errors.LimitReached, match=said):
        score(scoring_server, model=number.model, **rows)


def test_tensors_of_too_many_rows_are_refused(inference: Any, number: ModelVersion) -> None:
    tensors = [
        open_inference_pb2.ModelInferRequest.InferInputTensor(name=name, datatype="INT8", shape=[1_000_001])
        for name in FEATURES
    ]
    request = open_inference_pb2.ModelInferRequest(
        model_name=number.model, inputs=tensors, raw_input_contents=[bytes(1_000_001)] * len(FEATURES)
    )
    with pytest.raises(grpc.RpcError, match="more than 1,000,000 rows"):
        inference.ModelInfer(request, timeout=PATIENCE_SECONDS)


def test_an_answer_of_too_many_numbers_is_refused(
    scoring_server: RunningServer, number: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring_limits, "MAX_NUMBERS", 39)
    with pytest.raises(errors.LimitReached, match="the answer would have 40 numbers, and at most 39"):
        score(scoring_server, model=number.model, arrow_ipc=zeros(40))
    assert len(score(scoring_server, model=number.model, arrow_ipc=zeros(39)).scores[0].numbers) == 39


def test_many_rows_are_read_and_answered_beside_the_event_loop(
    scoring_server: RunningServer, number: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = defaultdict[str, list[str]](list)

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def note(*given: Any, **more: Any) -> Any:
            threads[name].append(threading.current_thread().name)
            return function(*given, **more)

        return note

    monkeypatch.setattr(scoring, "join_batches", noted("decoded", join_batches))
    monkeypatch.setattr(scoring, "scores_to_proto", noted("answered", scores_to_proto))
    monkeypatch.setattr(Rows, "request", property(noted("encoded", lambda self: self.make_request())))
    answer = score(scoring_server, model=number.model, arrow_ipc=zeros(MANY))
    assert len(answer.scores[0].numbers) == MANY
    kept = threads["decoded"][-1], threads["encoded"][0], threads["answered"][0]
    assert [one.partition("_")[0] for one in kept] == ["modelward-compute", "modelward-other", "modelward-compute"]


def test_long_texts_count_with_their_characters() -> None:
    texts = np.array([f"{row}{'x' * 100_000}" for row in range(5)], dtype=object)
    assert Rows.of_columns({"news": texts}).is_large
    assert not Rows.of_columns({"news": np.array(["short"] * 5, dtype=object)}).is_large

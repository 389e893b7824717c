"""A model's columns take values of their kind only, the same in every way by which rows come."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from google.protobuf.message import Message
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from modelward import Client, ModelVersion, errors
from modelward.cli.commands import cli
from modelward.data import to_columns
from modelward.shared.retry import error_of
from modelward.shared.typed_columns import to_typed
from modelward.v1 import scoring_pb2 as pb
from modelward.v1.scoring_pb2_grpc import ScoringServiceStub
from modelward_server.oip.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.support.inference import request_of
from tests.support.inference_models import in_production
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Takes seconds.

ROWS = pd.DataFrame({"venue": ["NYSE", "CME"] * 20, "x": np.linspace(0, 1, 40)})
GIVEN: dict[str, tuple[pd.DataFrame, str]] = {
    "text that is a number": (ROWS.assign(x=[f"{x:.1f}" for x in ROWS.x]), "has text in the column 'x'"),
    "numbers for text": (ROWS.assign(venue=range(40)), "has numbers in the column 'venue'"),
    "booleans for text": (ROWS.assign(venue=[True, False] * 20), "has booleans in the column 'venue'"),
}


@dataclass(frozen=True)
class Scored:
    """A version in production, and what its rows are sent with."""

    server: RunningServer
    sdk: Client
    version: ModelVersion
    folder: Path

    def answer(self, stub: Any, method: str, request: Message) -> Message:
        """Call a method without the SDK."""
        with grpc.insecure_channel(self.server.target) as channel:
            try:
                found: Message = getattr(stub(channel), method)(request, timeout=PATIENCE_SECONDS)
            except grpc.RpcError as error:
                raise error_of(error) from None
        return found


@pytest.fixture(scope="module")
def scored(scoring_server: RunningServer, scoring_sdk: Client, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    encode = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["venue"]), remainder="passthrough")
    version = in_production(scoring_sdk, make_pipeline(encode, LinearRegression()).fit(ROWS, ROWS.x), ROWS)
    return Scored(scoring_server, scoring_sdk, version, tmp_path_factory.mktemp("rows"))


def by_typed_columns(scored: Scored, rows: pd.DataFrame) -> object:
    request = pb.ScoreRequest(model=scored.version.model, columns=to_typed(to_columns(rows)))
    return scored.answer(ScoringServiceStub, "Score", request)


def by_tensors(scored: Scored, rows: pd.DataFrame) -> object:
    datatypes = {"O": "BYTES", "i": "INT64", "f": "FP64", "b": "BOOL"}
    tensors = {str(name): (column.tolist(), datatypes[column.dtype.kind]) for name, column in rows.items()}
    return scored.answer(GRPCInferenceServiceStub, "ModelInfer", request_of(scored.version.model, tensors))


def by_command(scored: Scored, rows: pd.DataFrame) -> object:
    rows.to_parquet(scored.folder / "rows")
    arguments = ["score", scored.version.model, str(scored.folder / "rows"), "--server", scored.server.target]
    done = CliRunner().invoke(cli, arguments)
    if done.exit_code:
        raise errors.InvalidField(errors.FieldViolation("rows", done.output))
    return done.output


WAYS: dict[str, Callable[[Scored, pd.DataFrame], object]] = {
    "SDK": lambda scored, rows: scored.sdk.score(scored.version.model, rows),
    "stream": lambda scored, rows: [*scored.sdk.score_stream(scored.version.model, [rows])],
    "typed columns": by_typed_columns,
    "Open Inference Protocol": by_tensors,
    "command": by_command,
    "loaded model": lambda scored, rows: scored.sdk.load(scored.version).predict(rows),
    "benchmark": lambda scored, rows: scored.sdk.benchmark([scored.version], rows, batch_rows=[1], seconds=0.1),
}


@pytest.mark.parametrize("way", WAYS)
def test_values_of_another_kind_are_refused_however_they_come(scored: Scored, way: str) -> None:
    WAYS[way](scored, ROWS)
    WAYS[way](scored, ROWS.assign(x=True))
    for rows, said in GIVEN.values():
        with pytest.raises((errors.InvalidField, errors.ModelFailed), match=said):
            WAYS[way](scored, rows)


def test_a_model_of_numbers_takes_no_text_although_it_has_no_reference(scoring_sdk: Client) -> None:
    rows = pd.DataFrame({"x": np.linspace(0, 1, 40)})
    version = scoring_sdk.register(f"plain-{uuid4().hex[:8]}", LinearRegression().fit(rows, rows.x))
    scoring_sdk.promote(version, to="staging")
    for given in (rows.astype(str), {"x": ["0.5"]}):
        with pytest.raises(
            errors.InvalidField, match="data: has text in the column 'x', where the model takes numbers"
        ):
            scoring_sdk.score(version.model, given, stage="staging")

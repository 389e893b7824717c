"""Clients of the Open Inference Protocol that know nothing of Modelward: Triton's own and grpcurl."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from modelward import Client
from modelward_server.oip import open_inference_pb2 as pb
from tests.support.documents import ROOT, blocks
from tests.support.forked_server import ForkedServer
from tests.support.packages import need_index, new_environment, succeed
from tests.support.waiting import PATIENCE_SECONDS
from tests.system.test_grpcurl import Grpcurl

pytestmark = pytest.mark.system

MODEL, SERVICE = "spx-direction", "inference.GRPCInferenceService"
RNG = np.random.default_rng(3)
ROWS = pd.DataFrame(RNG.normal(size=(200, 2)), columns=["momentum", "volume"])
CLASSIFIER = LogisticRegression().fit(ROWS, np.where(ROWS.momentum > 0, "up", "down"))

FIELDS_OF_TRITON = """
from tritonclient.grpc import service_pb2
from google.protobuf.descriptor import Descriptor

def fields(kind: Descriptor):
    for field in kind.fields:
        print(field.full_name, field.number, field.type, field.is_repeated)
    for nested in kind.nested_types:
        fields(nested)

for kind in service_pb2.DESCRIPTOR.message_types_by_name.values():
    fields(kind)
"""

IN_ONE_PROCESS = """
import sys
import numpy as np
import modelward_server.app
import tritonclient.grpc as triton
from modelward import Client

target, model = sys.argv[1:]
with Client(target) as client:
    version = client.resolve(model).version
rows = triton.InferInput("rows", [1, 2], "FP64")
rows.set_data_from_numpy(np.array([[1.0, 0.0]]))
answer = triton.InferenceServerClient(target).infer(model, [rows])
print(answer.as_numpy("prediction"), answer.get_response().model_version == str(version.version))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedServer]:
    folder = tmp_path_factory.mktemp("server")
    running = ForkedServer(folder / "data", folder / "log", "--scoring-processes", "2")
    with Client(running.target) as client:
        version = client.register(MODEL, CLASSIFIER, reference=ROWS)
        client.promote(version, to="staging")
        client.promote(version, to="production", reason="it passed its tests")
    yield running
    running.kill()


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with nothing but Triton's client."""
    folder = tmp_path_factory.mktemp("triton")
    need_index(folder)
    return new_environment(folder / "environment", "tritonclient[grpc]") / "python"


def run(python: Path, program: str, *arguments: str) -> str:
    command = [str(python), "-I", "-c", program, *arguments]
    return succeed(
        subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, cwd=python.parent
        )
    )


def fields(kind: Any) -> Iterator[str]:
    for field in kind.fields:
        yield f"{field.full_name} {field.number} {field.type} {field.is_repeated}"
    for nested in kind.nested_types:
        yield from fields(nested)


def test_names_and_numbers_are_those_of_triton(triton: Path) -> None:
    theirs = set(run(triton, FIELDS_OF_TRITON).splitlines())
    ours = {line for kind in pb.DESCRIPTOR.message_types_by_name.values() for line in fields(kind)}
    assert len(ours) > 50
    assert ours - theirs == set()


def test_the_program_of_the_documentation_runs_with_tritons_client(triton: Path, server: ForkedServer) -> None:
    [program] = [block for block in blocks(ROOT / "docs/inference-protocol.md") if "tritonclient.grpc" in block.text]
    said = run(triton, program.text.replace("localhost:50061", server.target))
    rows = pd.DataFrame({"momentum": [0.8, -1.2], "volume": [0.1, 0.4]})
    classes, probabilities = CLASSIFIER.predict(rows), CLASSIFIER.predict_proba(rows)
    assert said.splitlines() == [
        f"ready {MODEL}/1",
        *(f"{name} {chance:.6f}" for name, chance in zip(classes, probabilities[:, 1], strict=True)),
    ]


@pytest.mark.weekly
def test_server_and_client_share_a_process_with_tritons_client(server: ForkedServer, tmp_path: Path) -> None:
    need_index(tmp_path)
    python = new_environment(tmp_path / "environment", f"{ROOT}[server]", "tritonclient[grpc]") / "python"
    assert run(python, IN_ONE_PROCESS, server.target, MODEL) == "[b'up'] True\n"


def test_a_model_predicts_by_hand_with_grpcurl(server: ForkedServer) -> None:
    grpcurl = Grpcurl(server.target)
    assert SERVICE in grpcurl.text("list").split()
    assert "rpc ModelInfer" in grpcurl.text("describe", SERVICE)
    assert "raw_input_contents" in grpcurl.text("describe", "inference.ModelInferRequest")
    assert grpcurl.call(f"{SERVICE}/ModelReady", {"name": MODEL}) == {"ready": True}
    rows = {"name": "rows", "datatype": "FP64", "shape": [1, 2], "contents": {"fp64Contents": [0.8, 0.1]}}
    answer = grpcurl.call(f"{SERVICE}/ModelInfer", {"modelName": MODEL, "inputs": [rows]})
    prediction, probabilities = answer["outputs"]
    assert prediction["contents"] == {"bytesContents": ["dXA="]}, "which is up"
    expected = CLASSIFIER.predict_proba(pd.DataFrame([[0.8, 0.1]], columns=ROWS.columns))[0]
    np.testing.assert_allclose(probabilities["contents"]["fp64Contents"], expected, rtol=1e-9)

"""Models and data in an S3-compatible store, which the server reads by MLflow's artifact repositories."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from modelward import AsyncClient, Client, ModelFormat, errors
from tests.support.clients import as_async
from tests.support.forked_server import ForkedServer
from tests.support.onnx_files import linear_model

pytestmark = pytest.mark.system

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3-compatible store."""
    store = ThreadedMotoServer("127.0.0.1", port=0)
    store.start()
    host, port = store.get_host_and_port()
    yield f"http://{host}:{port}"
    store.stop()


@pytest.fixture(scope="module")
def bucket(endpoint: str) -> Any:
    """The bucket `models`."""
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    store = boto3.resource("s3", endpoint_url=endpoint, **keys)
    return store.create_bucket(Bucket="models")


@pytest.fixture(scope="module")
def served(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedServer]:
    """A server that may read from the bucket."""
    folder = tmp_path_factory.mktemp("s3")
    env = {**KEYS, "MLFLOW_S3_ENDPOINT_URL": endpoint, "MODELWARD_ALLOWED_SOURCES": "s3://models/"}
    served = ForkedServer(folder / "data", folder / "server.log", env=env)
    yield served
    served.kill()


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, served: ForkedServer) -> AsyncIterator[AsyncClient]:
    if request.param == "async":
        async with AsyncClient(served.target) as client:
            yield as_async(client)
    else:
        with Client(served.target) as client:
            yield as_async(client)


async def test_model_is_registered_from_a_bucket(client: AsyncClient, bucket: Any, name: str, tmp_path: Path) -> None:
    content = linear_model(np.random.default_rng(7).normal(size=1_000_000).tolist(), 0.0)
    bucket.put_object(Key=f"{name}/model.onnx", Body=content)
    bucket.put_object(Key=f"{name}/data/vocab.txt", Body=b"alpha beta")
    version = await client.register_uri(name, f"s3://models/{name}")
    assert version.format is ModelFormat.ONNX
    assert [file.path for file in version.files] == ["data/vocab.txt", "model.onnx"]
    copy = await client.download(version, tmp_path)
    assert (copy / "model.onnx").read_bytes() == content
    assert (copy / "data" / "vocab.txt").read_bytes() == b"alpha beta"


async def test_drift_is_detected_in_a_parquet_file_in_a_bucket(
    client: AsyncClient, bucket: Any, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    values = np.random.default_rng(7).normal(size=1000)
    version = await client.register(name, tmp_path / "model.bin", reference={"momentum": values})
    pq.write_table(pa.table({"momentum": values + 3}), tmp_path / "crisis.parquet")
    bucket.upload_file(str(tmp_path / "crisis.parquet"), f"{name}/crisis.parquet")
    report = await client.detect_drift_uri(version, f"s3://models/{name}/crisis.parquet")
    assert (report.drift_detected, report.drivers) == (True, ("momentum",))


async def test_what_is_not_in_the_bucket_is_a_wrong_source_uri(client: AsyncClient, bucket: Any, name: str) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        await client.register_uri(name, f"s3://models/{name}")
    assert [violation.field for violation in caught.value.violations] == ["source_uri"]


async def test_another_bucket_is_not_allowed(client: AsyncClient, name: str) -> None:
    with pytest.raises(errors.SourceNotAllowed):
        await client.register_uri(name, "s3://models-of-others/spx")

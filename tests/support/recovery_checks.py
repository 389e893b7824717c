"""A registry that outlives its servers, and what must hold of it whenever one of them was killed."""

import hashlib
import itertools
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
from mlflow import MlflowClient

from modelward import Client, ModelVersion, Stage, VersionRef
from modelward.lifecycle import ArtifactFile
from modelward.shared.convert.common import file_to_proto, ref_to_proto, stage_to_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.common_pb2 import Column, ColumnTable, Dataset, DoubleValues
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from tests.support.killable_server import KillableServer
from tests.support.stage_history import replay
from tests.support.waiting import PATIENCE_SECONDS

"""How long MLflow may take to show what came in while the server was killed again and again."""

FEATURE = Column(name="momentum", doubles=DoubleValues(values=[0.5, -0.5, 1.5]))


class Registry:
    """One data folder and one database, on which one server after another is started.

    Args:
        database: the URL of the ledger; empty for SQLite in the data folder.
    """

    def __init__(self, folder: Path, database: str) -> None:
        self._folder, self._database = folder, database
        self._logs = itertools.count()
        self.server = self._start()

    def _start(self, step: str = "") -> KillableServer:
        flags = ["--database-url", self._database] if self._database else []
        return KillableServer(self._folder / "data", self._folder / f"log{next(self._logs)}", *flags, step=step)

    def restart(self, step: str = "") -> None:
        """Kill the server and start another one, which dies at a step when one is named."""
        self.server.kill()
        self.server = self._start(step)

    def client(self) -> Client:
        return Client(self.server.target, timeout=PATIENCE_SECONDS)

    @cached_property
    def mlflow(self) -> Any:
        return MlflowClient(f"sqlite:///{self._folder}/data/mlflow.db")

    def call(self, request: Any) -> Any:
        """Make a call with its request id once, and return its answer, or None when the server died instead."""
        with grpc.insecure_channel(self.server.target) as channel:
            try:
                return _send(LifecycleServiceStub(channel), request)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                return None

    def check_mlflow(self, model: str) -> None:
        """Wait until MLflow shows a model as it is, and then look that nothing is there twice."""
        with Client(self.server.target, timeout=PATIENCE_SECONDS) as client:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while found := client.reconcile_mlflow(model, dry_run=True).differences:
                assert time.monotonic() < deadline, found
                time.sleep(0.05)
            numbers = [str(version.version) for version in client.list_versions(model)]
        experiments = [self.mlflow.get_experiment_by_name(model).experiment_id]
        registered = [version.tags for version in self.mlflow.search_model_versions(f"name='{model}'")]
        runs = [run.data.tags for run in self.mlflow.search_runs(experiments)]
        for shown in (registered, runs):
            assert sorted(tags["modelward.version"] for tags in shown) == sorted(numbers)
        assert self._count_logged_models(experiments) == len(numbers)

    def _count_logged_models(self, experiments: list[str]) -> int:
        counted, token = 0, ""
        while token is not None:
            page = self.mlflow.search_logged_models(experiments, page_token=token or None)
            counted, token = counted + len(page), page.token
        return counted


def _send(stub: LifecycleServiceStub, request: Any) -> Any:
    if isinstance(request, pb.TransitionModelVersionRequest):
        return stub.TransitionModelVersion(request, timeout=PATIENCE_SECONDS)
    stub.UploadBlobs(upload_of(request.model), timeout=PATIENCE_SECONDS)
    return stub.RegisterModelVersion(request, timeout=PATIENCE_SECONDS)


def check_whole(client: Client) -> None:
    """Look that nothing is half done in the ledger: files, stages, transitions and audit records belong together."""
    assert client.verify_audit_log().intact
    records = [record for record in client.export_audit_log() if record.kind in {"registered", "transition"}]
    for model in client.list_models():
        moves = list(client.list_transitions(model.name))[::-1]
        assert [move.sequence for move in moves] == [each.sequence for each in records if each.model == model.name]
        stages = {version.version: version.stage for version in client.list_versions(model.name)}
        assert sorted(stages) == list(range(1, model.latest_version + 1))
        assert replay(moves) == stages


def check_reference(client: Client, version: ModelVersion) -> None:
    """Look that a version has the reference that was sent with it."""
    assert version.references == ("default",)
    assert [feature.name for feature in client.get_reference(version).features] == [FEATURE.name]


def check_files(client: Client, version: ModelVersion, folder: Path) -> None:
    """Look that a version can be downloaded, with the content that was sent."""
    assert client.download(version, folder).joinpath("model.bin").read_bytes() == content_of(version.model)


def content_of(model: str) -> bytes:
    return f"weights of {model}".encode()


def upload_of(model: str) -> Iterator[pb.UploadBlobsRequest]:
    content = content_of(model)
    yield pb.UploadBlobsRequest(header=pb.BlobHeader(sha256=_sha256(content), size_bytes=len(content)))
    yield pb.UploadBlobsRequest(chunk=content)


def registration_of(model: str) -> pb.RegisterModelVersionRequest:
    """Make a request to register one more version, to be sent as often as one likes."""
    content = content_of(model)
    file = file_to_proto(ArtifactFile("model.bin", len(content), _sha256(content)))
    return pb.RegisterModelVersionRequest(
        model=model,
        manifest=pb.ArtifactManifest(files=[file]),
        tags={"desk": "rates"},
        params={"depth": "3"},
        metrics={"accuracy": 0.5},
        reference=pb.ReferenceData(data=Dataset(columns=ColumnTable(columns=[FEATURE]))),
        request_id=str(uuid4()),
    )


def move_of(model: str, version: int, to: Stage) -> pb.TransitionModelVersionRequest:
    """Make a request to move a version, to be sent as often as one likes."""
    ref = ref_to_proto(VersionRef(model, version))
    return pb.TransitionModelVersionRequest(
        version=ref, to=stage_to_proto(to), reason="it passed its tests", request_id=str(uuid4())
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

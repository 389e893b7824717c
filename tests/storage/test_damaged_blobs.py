"""Files that the disk loses, cuts or changes: the server finds out, uses none of them, and takes them anew."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import grpc
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from skops import io

from modelward import AsyncClient, Client, ModelVersion
from modelward.errors import DataLoss, DigestMismatch, InvalidField, ModelwardError, StoreUnavailable
from modelward.shared.retry import error_of
from modelward.v1 import common_pb2
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward_server.mlflow.client import MlflowFiles
from modelward_server.mlflow.mirror import Mirrored, MlflowMirror
from modelward_server.settings import Settings
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.sources import Sources
from modelward_server.storage.verification import DAMAGED, READ_BYTES, copy_verified, read_verified
from tests.support.running_server import RunningServer
from tests.support.server_process import bare_environment
from tests.support.waiting import PATIENCE_SECONDS

LONG = 2 * READ_BYTES + 1000


@pytest.fixture(scope="session")
def database_url() -> str:
    """Files do not touch the database: one is enough here."""
    return ""


def flip(blob: Path) -> None:
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)


def cut(blob: Path) -> None:
    blob.write_bytes(blob.read_bytes()[:-1])


def lengthen(blob: Path) -> None:
    blob.write_bytes(blob.read_bytes() + b"a")


def lose(blob: Path) -> None:
    blob.unlink()


DAMAGES = [flip, cut, lengthen, lose]
Damage = Callable[[Path], None]


@pytest.fixture
def blobs(server: RunningServer) -> BlobStore:
    return BlobStore(server.settings.blobs_folder)


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """A file of three chunks that no other test has."""
    path = tmp_path / "model.bin"
    path.write_bytes(np.random.default_rng(uuid4().int).bytes(LONG))
    return path


@pytest.fixture
def raw(server: RunningServer) -> Iterator[LifecycleServiceStub]:
    with grpc.insecure_channel(server.target) as channel:
        yield LifecycleServiceStub(channel)


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def is_there(path: Path) -> bool:
    return path.exists()


def request(name: str, offset: int = 0) -> pb.DownloadArtifactRequest:
    version = common_pb2.ModelVersionRef(model=name, version=1)
    return pb.DownloadArtifactRequest(version=version, path="model.bin" if offset else "", offset=offset)


def downloaded(raw: LifecycleServiceStub, name: str, offset: int = 0) -> tuple[bytes, ModelwardError | None]:
    """Return what a client gets that verifies nothing itself, and how it ends."""
    got = b""
    try:
        for part in raw.DownloadArtifact(request(name, offset), timeout=PATIENCE_SECONDS):
            got += part.chunk
    except grpc.RpcError as error:
        return got, error_of(error)
    return got, None


@pytest.mark.system
@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_file_is_data_loss_until_it_is_uploaded_again(
    client: AsyncClient,
    raw: LifecycleServiceStub,
    blobs: BlobStore,
    name: str,
    content: Path,
    damage: Damage,
) -> None:
    whole, copy = content_of(content), content.with_name("copy")
    version: ModelVersion = await client.register(name, content)
    [file] = version.files
    damage(blobs.path(file.sha256))
    got, error = downloaded(raw, name)
    assert isinstance(error, DigestMismatch)
    assert error.metadata["expected"] == file.sha256
    assert len(got) < LONG  # A client that verifies nothing notices all the same that it has not all.
    with pytest.raises(DataLoss):
        await client.download(f"{name}/1", copy)
    assert not is_there(copy / "model.bin")
    await client.register(name, content)  # The SDK asks what is here, and brings what is not.
    assert downloaded(raw, name) == (whole, None)


def test_a_resumed_download_is_verified_too(
    client_of_files: Client, raw: LifecycleServiceStub, blobs: BlobStore, name: str, content: Path
) -> None:
    [file] = client_of_files.register(name, content).files
    whole = content.read_bytes()
    for offset in (1, READ_BYTES, LONG - 1):
        assert downloaded(raw, name, offset) == (whole[offset:], None)
    damaged = bytearray(whole)
    damaged[0] ^= 1  # Before where the download goes on.
    blobs.path(file.sha256).write_bytes(damaged)
    got, error = downloaded(raw, name, READ_BYTES)
    assert isinstance(error, DigestMismatch)
    assert len(got) < LONG - READ_BYTES


@pytest.fixture
def client_of_files(server: RunningServer) -> Iterator[Client]:
    with Client(server.target, timeout=PATIENCE_SECONDS) as client:
        yield client


@pytest.fixture
def estimator() -> LogisticRegression:
    rows = np.random.default_rng(uuid4().int).normal(size=(50, 2))
    return LogisticRegression().fit(rows, rows[:, 0] > 0)


@pytest.mark.system
def test_a_damaged_model_is_not_run(
    client_of_files: Client, blobs: BlobStore, name: str, estimator: LogisticRegression, tmp_path: Path
) -> None:
    client, rows = client_of_files, np.random.default_rng(0).normal(size=(50, 2))
    io.dump(estimator, tmp_path / "model.skops")
    versions = [client.register(name, estimator), client.register(name, tmp_path / "model.skops")]
    flip(blobs.path(versions[1].files[0].sha256))
    with pytest.raises(DigestMismatch):
        client.compare(versions, {"a": rows[:, 0], "b": rows[:, 1]}, rows[:, 0] > 0)
    client.register(name, tmp_path / "model.skops")  # Brings the file anew.
    cut(blobs.path(versions[1].files[0].sha256))
    with pytest.raises(DigestMismatch):
        client.benchmark(versions, {"a": rows[:, 0], "b": rows[:, 1]})


@pytest.mark.system
@pytest.mark.parametrize("damage", [flip, lose])
def test_a_damaged_profile_is_not_compared_with(
    client_of_files: Client, blobs: BlobStore, name: str, content: Path, damage: Damage
) -> None:
    rows = np.random.default_rng(uuid4().int).normal(size=(500, 2))
    table = {"a": rows[:, 0], "b": rows[:, 1]}
    client_of_files.register(name, content)
    before = set(blobs_of(blobs))
    client_of_files.set_reference(f"{name}/1", table)
    [profile] = set(blobs_of(blobs)) - before
    damage(profile)
    with pytest.raises(DigestMismatch):
        client_of_files.detect_drift(f"{name}/1", table)
    client_of_files.set_reference(f"{name}/1", table)
    assert client_of_files.detect_drift(f"{name}/1", table).rows == 500


def blobs_of(store: BlobStore) -> list[Path]:
    return [path for path in store.path("00").parent.parent.glob("??/*") if path.suffix != DAMAGED]


def test_a_store_that_is_not_there_is_unavailable_and_its_files_are_not_lost(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs")
    sha256 = store.put_bytes(b"a")
    (tmp_path / "blobs").rename(tmp_path / "away")
    (tmp_path / "blobs").mkdir()  # Where a shared folder would be mounted.
    with pytest.raises(StoreUnavailable) as caught:
        store.read_bytes(sha256)
    assert caught.value.metadata == {"store": "blobs"}
    (tmp_path / "blobs").rmdir()
    (tmp_path / "away").rename(tmp_path / "blobs")
    assert store.read_bytes(sha256) == b"a"


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_set_aside_and_stored_anew(tmp_path: Path, damage: Damage) -> None:
    store = BlobStore(tmp_path / "blobs")
    source = tmp_path / "source"
    source.write_bytes(b"abc")
    file = store.put_file(source, "model.bin")
    damage(store.path(file.sha256))
    assert not store.is_whole(file.sha256, 3)
    assert not store.has(file.sha256, 3)
    assert store.put_file(source, "model.bin") == file
    assert store.read_bytes(file.sha256) == b"abc"


def test_files_from_elsewhere_replace_damaged_ones(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs")
    source = tmp_path / "source"
    source.write_bytes(b"abc")
    file = store.put_file(source, "model.bin")
    flip(store.path(file.sha256))
    store.put_file(source, "model.bin")  # Nobody had noticed.
    assert store.read_bytes(file.sha256) == b"abc"


def test_a_copy_of_a_damaged_file_is_not_left_behind(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs")
    path = store.path(store.put_bytes(bytes(LONG)))
    copy_verified(path, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == bytes(LONG)
    flip(path)
    with pytest.raises(DigestMismatch):
        copy_verified(path, tmp_path / "another")
    assert not (tmp_path / "another").exists()
    with pytest.raises(DigestMismatch, match="is lost"):
        read_verified(path)


def test_a_blob_of_a_request_that_is_damaged_is_named(
    client_of_files: Client, server: RunningServer, blobs: BlobStore, name: str, content: Path
) -> None:
    sources = Sources((), MlflowFiles("sqlite:///nowhere"), blobs)
    sha256 = hashlib.sha256(content.read_bytes()).hexdigest()
    with pytest.raises(InvalidField, match="UploadBlobs"):
        sources.blob(sha256, "data.blob")
    client_of_files.register(name, content)
    assert sources.blob(sha256, "data.blob") == blobs.path(sha256)
    flip(blobs.path(sha256))
    with pytest.raises(DigestMismatch):
        sources.blob(sha256, "data.blob")


def backed_up(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelward", "backup", str(folder / "copy"), "--data-dir", str(folder / "data")]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, env=bare_environment()
    )


@pytest.mark.system
def test_a_backup_tells_what_is_damaged_since_the_last_and_what_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MlflowMirror, "sync", lambda *_: Mirrored("", ""))  # It would find the damage, too.
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    (tmp_path / "model.bin").write_bytes(b"abc")
    with Client(running.target) as client:
        [file] = client.register("spx", tmp_path / "model.bin").files
    running.stop()
    blob = BlobStore(tmp_path / "data" / "blobs").path(file.sha256)
    assert backed_up(tmp_path).returncode == 0
    flip(blob)
    told = backed_up(tmp_path)
    assert told.returncode == 1
    assert told.stderr.startswith(f"{blob} is damaged, its SHA-256 is ")
    copy = tmp_path / "copy" / "blobs" / file.sha256[:2] / file.sha256
    assert copy.read_bytes() == b"abc"  # Of the backup before; from here it is put back.
    blob.unlink()
    told = backed_up(tmp_path)
    assert (told.returncode, f"lacks the file {file.sha256}" in told.stderr) == (1, True), told.stderr

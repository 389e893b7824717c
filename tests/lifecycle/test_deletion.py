"""The files of archived versions can be deleted; what is known of them stays, and nothing pretends to have them."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelward import AsyncClient
from modelward.errors import ArtifactDeleted, EtagMismatch, IllegalTransition, InvalidField, VersionNotFound
from modelward_server.storage.retention import Retention
from tests.support.running_server import RunningServer
from tests.support.values import present

pytestmark = pytest.mark.system  # Takes seconds.


async def archived(client: AsyncClient, name: str, tmp_path: Path, content: bytes) -> None:
    """Register a version, and a second one that takes production over from it."""
    (tmp_path / "model.bin").write_bytes(content)
    for _ in range(2):
        version = await client.register(name, tmp_path / "model.bin")
        await client.promote(version, to="staging")
        await client.promote(version, to="production", reason="it passed its tests")
        (tmp_path / "model.bin").write_bytes(os.urandom(100))


@pytest.mark.weekly("postgresql")
async def test_files_of_an_archived_version_are_deleted_and_its_record_stays(
    client: AsyncClient, server: RunningServer, name: str, tmp_path: Path
) -> None:
    await archived(client, name, tmp_path, os.urandom(100))
    before = await client.get_version(f"{name}/1")
    deleted = await client.delete_artifact(f"{name}/1", reason="the disk is small")
    assert (deleted.digest, deleted.files, deleted.stage) == (before.digest, before.files, before.stage)
    assert present(deleted.artifact_deletion).deleted_by == "tester"
    assert present(deleted.artifact_deletion).reason == "the disk is small"
    assert await client.get_version(f"{name}/1") == deleted
    assert await client.delete_artifact(f"{name}/1", reason="again") == deleted
    for refused in (
        client.download(f"{name}/1", tmp_path / "download"),
        client.promote(f"{name}/1", to="staging"),
        client.rollback(name, reason="worse"),
    ):
        with pytest.raises(ArtifactDeleted, match=r"deleted by tester at .*: the disk is small; register them again"):
            await refused
    assert (await client.verify_audit_log()).intact
    blobs = server.app.blobs
    path = blobs.path(before.files[0].sha256)
    later = datetime.now(UTC) + timedelta(days=9)
    days = dict.fromkeys(("answers", "reports", "logs"), timedelta(days=999)) | {"blobs": timedelta(days=7)}
    for _ in Retention(server.app.ledger, blobs, days, 1 << 30, clock=lambda: later).steps():
        pass
    assert not path.exists()
    await client.download(f"{name}/2", tmp_path / "download")


async def test_files_that_another_version_has_stay(
    client: AsyncClient, server: RunningServer, name: str, tmp_path: Path
) -> None:
    content = os.urandom(100)
    await archived(client, name, tmp_path, content)
    (tmp_path / "model.bin").write_bytes(content)
    twin = await client.register(name, tmp_path / "model.bin")
    await client.delete_artifact(f"{name}/1", reason="a twin has them")
    days = dict.fromkeys(("answers", "reports", "logs"), timedelta(days=999)) | {"blobs": timedelta(0)}
    for _ in Retention(server.app.ledger, server.app.blobs, days, 1 << 30).steps():
        pass
    await client.download(twin, tmp_path / "download")


async def test_only_archived_versions_lose_their_files(client: AsyncClient, name: str, tmp_path: Path) -> None:
    await archived(client, name, tmp_path, os.urandom(100))
    with pytest.raises(IllegalTransition, match="is in production, and only the files of archived versions"):
        await client.delete_artifact(f"{name}/2", reason="by mistake")
    with pytest.raises(EtagMismatch):
        await client.delete_artifact(f"{name}/1", reason="stale", etag="r0")
    with pytest.raises(InvalidField, match="reason"):
        await client.delete_artifact(f"{name}/1", reason=" ")
    with pytest.raises(VersionNotFound):
        await client.delete_artifact(f"{name}/9", reason="none")

"""The cache on the disk: the user's alone, whole or absent, and believed only as far as it can be checked."""

import asyncio
import errno
import hashlib
import logging
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelward import AsyncClient, Client, ModelVersion, errors
from modelward import _cache as caching
from modelward import _private as private
from modelward._cache import DIGEST_BYTES, MAGIC, Cache, _checksum
from modelward._follow import cache_key
from modelward.shared.convert.lifecycle import version_from_proto
from modelward.shared.manifest import manifest_digest
from modelward.v1 import lifecycle_pb2 as pb
from tests.client.test_odd_downloads import file
from tests.support.misbehaving_server import MisbehavingServer, misbehaving_server
from tests.support.waiting import PATIENCE_SECONDS

KINDS = ["sync", "async"]


async def followed(
    kind: str, target: str, cache: Path, model: str = "m", stage: str = "production", timeout: float = 0.2
) -> ModelVersion:
    """Return the version that a follower starts with."""
    if kind == "sync":
        return await asyncio.to_thread(_followed, target, cache, model, stage, timeout)
    async with (
        AsyncClient(target, timeout=timeout) as client,
        client.follow(model, stage=stage, cache=cache) as live,
    ):
        return live.current.version


def _followed(target: str, cache: Path, model: str, stage: str, timeout: float) -> ModelVersion:
    with Client(target, timeout=timeout) as client, client.follow(model, stage=stage, cache=cache) as live:
        return live.current.version


@pytest.fixture
def away(tmp_path: Path) -> str:
    """A server that was there while `tmp_path/cache` was filled, and is not any more."""
    with misbehaving_server() as odd:
        odd.has(file("data/f"), file("g"))
        odd.sends(b"x")
        with Client(odd.target, timeout=PATIENCE_SECONDS) as client, client.follow("m", cache=tmp_path / "cache"):
            pass
        return odd.target


def record(cache: Path) -> Path:
    [path] = (cache / "last-good").iterdir()
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
async def test_cache_is_for_nobody_else_whatever_the_umask(
    odd: MisbehavingServer, kind: str, umask: int, tmp_path: Path
) -> None:
    odd.has(file("data/f"), file("g"))
    odd.sends(b"x")
    before = os.umask(umask)
    try:
        await followed(kind, odd.target, tmp_path / "of" / "mine" / "cache", timeout=PATIENCE_SECONDS)
    finally:
        os.umask(before)
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (tmp_path / "of").rglob("*")}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_download_to_a_folder_of_ones_own_follows_the_umask(odd: MisbehavingServer, tmp_path: Path) -> None:
    odd.has(file("data/f"))
    odd.sends(b"x")
    with Client(odd.target, timeout=PATIENCE_SECONDS) as client:
        client.download("m/1", tmp_path / "copy")
    umask = os.umask(0o022)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "copy" / "data" / "f").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", ["", "artifacts", "last-good"])
async def test_cache_that_others_may_write_is_refused(kind: str, part: str, away: str, tmp_path: Path) -> None:
    (tmp_path / "cache" / part).chmod(0o770)
    with pytest.raises(errors.InvalidField, match="is writable by others; run chmod go-w") as caught:
        await followed(kind, away, tmp_path / "cache")
    assert [violation.field for violation in caught.value.violations] == ["cache"]


def test_cache_of_another_user_is_refused(away: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(errors.InvalidField, match="belongs to user"):
        Cache(tmp_path / "cache").open()
    (tmp_path / "file").touch()
    with pytest.raises(errors.InvalidField, match="is not a folder"):
        Cache(tmp_path / "file").open()


def test_cache_stands_where_the_system_has_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for named, place in ((str(tmp_path / "xdg"), "xdg"), ("relative", "home/.cache"), ("", "home/.cache")):
        monkeypatch.setenv("XDG_CACHE_HOME", named)
        Cache(None).open()
        assert (tmp_path / place / "modelward" / "last-good").is_dir()


@pytest.mark.parametrize("kind", KINDS)
async def test_last_good_version_is_taken_while_the_server_is_away(kind: str, away: str, tmp_path: Path) -> None:
    assert str(await followed(kind, away, tmp_path / "cache")) == "m/1"


def _changed(**facts: Any) -> Callable[[bytes], bytes]:
    """Return what writes a record anew with other facts, its checksum right."""

    def change(old: bytes) -> bytes:
        version = pb.ModelVersion.FromString(old[len(MAGIC) + DIGEST_BYTES :])
        path = facts.get("path")
        if path:
            version.files[0].path = path
            version.digest = manifest_digest(version_from_proto(version).files)
        version.MergeFrom(pb.ModelVersion(**{name: value for name, value in facts.items() if name != "path"}))
        content = version.SerializeToString()
        return MAGIC + _checksum(KEY[0], content) + content

    return change


KEY = [""]
"""The key of the record that is changed; the server's port is part of it."""
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "zeros": lambda old: bytes(len(old)),
    "garbage": lambda _: b"\xff\xfegarbage",
    "cut": lambda old: old[:-1],
    "cut within the beginning": lambda old: old[:10],
    "longer": lambda old: old + b"\0",
    "one bit": lambda old: old[:-5] + bytes([old[-5] ^ 1]) + old[-4:],
    "of an earlier release": lambda old: old[len(MAGIC) + DIGEST_BYTES :],
    "of no version": lambda _: MAGIC + _checksum(KEY[0], b"\xff") + b"\xff",
    "of nothing": lambda _: MAGIC + _checksum(KEY[0], b""),
    "another model": _changed(model="other"),
    "another digest": _changed(digest="../../evil"),
    "another file": _changed(path="../../../secret"),
    "a year that is none": _changed(created_at={"seconds": 2**60}),
}


@pytest.mark.system
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGES)
async def test_record_that_is_not_whole_and_right_is_none(
    kind: str, damage: str, away: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    KEY[0] = cache_key(away, "m", "production")
    path = record(tmp_path / "cache")
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with caplog.at_level(logging.WARNING), pytest.raises((errors.Unavailable, errors.DeadlineExceeded)):
        await followed(kind, away, tmp_path / "cache")
    assert "is ignored" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"y", b"xx", None])
async def test_files_that_are_not_what_they_were_are_none(damage: bytes | None, away: str, tmp_path: Path) -> None:
    [path] = (tmp_path / "cache" / "artifacts").glob("*/data/f")
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises((errors.Unavailable, errors.DeadlineExceeded)):
        await followed("sync", away, tmp_path / "cache")


@pytest.mark.parametrize(("model", "stage"), [("other", "production"), ("m", "staging")])
async def test_record_of_another_model_or_stage_is_not_taken(
    model: str, stage: str, away: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = cache_key(away, model, stage)
    kept = record(tmp_path / "cache")
    shutil.copy(kept, kept.with_name(hashlib.sha256(key.encode()).hexdigest()))
    with caplog.at_level(logging.WARNING), pytest.raises((errors.Unavailable, errors.DeadlineExceeded)):
        await followed("sync", away, tmp_path / "cache", model, stage)
    assert "not of this model, stage and server" in caplog.text


def test_record_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(handle: int) -> None:
        done.append("fsync")
        fsync(handle)

    def noted_replace(path: Path, to: Path) -> Path:
        done.append("rename")
        return replace(path, to)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    private.write_private(tmp_path / "record", b"content")
    assert done == ["fsync", "rename", "fsync"]
    assert [path.name for path in tmp_path.iterdir()] == ["record"]


def test_disk_that_takes_nothing_more_ends_no_following(
    odd: MisbehavingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    odd.has(file("f"))
    odd.sends(b"x")
    monkeypatch.setattr(caching, "write_private", full)
    with (
        caplog.at_level(logging.WARNING),
        Client(odd.target, timeout=PATIENCE_SECONDS) as client,
        client.follow("m", cache=tmp_path) as live,
    ):
        assert str(live.current.version) == "m/1"
    assert "could not be recorded as the last good version" in caplog.text


def test_version_of_the_cache_is_that_of_the_contract(away: str, tmp_path: Path) -> None:
    kept = record(tmp_path / "cache").read_bytes()
    version = version_from_proto(pb.ModelVersion.FromString(kept[len(MAGIC) + DIGEST_BYTES :]))
    assert [file.path for file in version.files] == ["data/f", "g"]

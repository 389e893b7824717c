"""A server that is not to be trusted: what it says of files writes nothing where it should not, nor without an end."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from modelward import ArtifactFile, AsyncClient, Client, errors
from modelward.shared import manifest
from modelward.v1 import lifecycle_pb2 as pb
from tests.support.misbehaving_server import MisbehavingServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Waits for streams that bring nothing.


def file(path: str, content: bytes = b"x", size: int | None = None) -> ArtifactFile:
    return ArtifactFile(path, len(content) if size is None else size, hashlib.sha256(content).hexdigest())


def listed(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "names",
    [
        [""],
        ["."],
        ["./.."],
        ["a/./b"],
        ["a//b"],
        ["a/"],
        ["/etc/evil"],
        ["../evil"],
        ["a/../../evil"],
        ["..\\evil"],
        ["C:\\evil"],
        ["C:evil"],
        ["a\0b"],
        ["a\nb"],
        ["n" * 256],
        ["é" * 128],
        ["/".join(["a"] * 257)],
        ["a", "a"],
        ["a", "a/b"],
        ["a/b/c", "a/b"],
    ],
)
async def test_name_that_leads_out_or_cannot_be_is_refused(
    odd: MisbehavingServer, asking: AsyncClient, names: list[str], tmp_path: Path
) -> None:
    odd.has(*map(file, ["fine", *names]))
    odd.sends(b"x")
    with pytest.raises(errors.InvalidField) as caught:
        await asking.download("m/1", tmp_path / "in" / "copy")
    assert [violation.field for violation in caught.value.violations] == ["path"]
    assert listed(tmp_path) == []
    assert "DownloadArtifact" not in dict(odd.asked)


async def test_odd_names_that_stay_inside_are_names_like_others(
    odd: MisbehavingServer, asking: AsyncClient, tmp_path: Path
) -> None:
    names = ["~", "....", "a.part", "a", "b/c.part/d", "b/c", "n" * 255, "é", "e\u0301", "A"]
    odd.has(*map(file, names))
    odd.sends(b"x")
    assert listed(await asking.download("m/1", tmp_path)) == sorted(names)
    (tmp_path / "a").write_bytes(b"damaged")
    (tmp_path / "b" / "c").unlink()
    assert listed(await asking.download("m/1", tmp_path)) == sorted(names)
    assert (tmp_path / "a").read_bytes() == b"x"


def test_names_that_only_some_systems_tell_apart_are_refused_there(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest.check_names(["model.bin", "Model.bin", "é", "e\u0301", "nul", "what?"])
    monkeypatch.setattr(manifest, "IGNORES_CASE", True)
    for twins in (["model.bin", "Model.bin"], ["é", "e\u0301"], ["Data", "data/x"]):
        with pytest.raises(errors.InvalidField, match="conflicts with"):
            manifest.check_names(twins)
    monkeypatch.setattr(manifest, "IS_WINDOWS", True)
    for reserved in ("nul", "data/COM1.txt", "what?", "dot.", "space ", "data:stream"):
        with pytest.raises(errors.InvalidField, match="Windows"):
            manifest.check_names([reserved])


@pytest.mark.parametrize("digest", ["", "0" * 64, "../../evil", "/tmp/evil", "A" * 64, "x\0", "é" * 64])
async def test_digest_that_does_not_fit_the_files_is_refused(
    odd: MisbehavingServer, asking: AsyncClient, digest: str, tmp_path: Path
) -> None:
    odd.has(file("f"), digest=digest)
    odd.sends(b"x")
    with pytest.raises(errors.DigestMismatch):
        await asking.download("m/1", tmp_path / "copy")
    async with followed(odd.target, tmp_path / "cache") as entered:
        assert isinstance(entered, errors.DigestMismatch)
    assert listed(tmp_path) == []


@pytest.mark.parametrize("wrong", [ArtifactFile("f", 1, "0" * 63), ArtifactFile("f", -1, "0" * 64)])
async def test_file_that_is_described_by_no_digest_is_refused(
    odd: MisbehavingServer, asking: AsyncClient, wrong: ArtifactFile, tmp_path: Path
) -> None:
    odd.has(wrong)
    with pytest.raises(errors.DigestMismatch, match="no valid SHA-256 and size"):
        await asking.download("m/1", tmp_path)


@pytest.mark.parametrize("chunks", [[b"y"], [], [b"x", b"x"]])
async def test_other_bytes_than_announced_are_not_kept(
    odd: MisbehavingServer, asking: AsyncClient, chunks: list[bytes], tmp_path: Path
) -> None:
    odd.has(file("f"))
    odd.sends(*chunks)
    with pytest.raises(errors.DigestMismatch):
        await asking.download("m/1", tmp_path)
    assert listed(tmp_path) == []


async def test_stream_without_end_is_left_at_the_announced_size(
    odd: MisbehavingServer, asking: AsyncClient, tmp_path: Path
) -> None:
    sent = 0

    def endless(*_: Any) -> Iterator[pb.DownloadArtifactResponse]:
        nonlocal sent
        while sent < 2000:
            sent += 1
            yield pb.DownloadArtifactResponse(chunk=bytes(1 << 20))

    odd.has(file("f", bytes(5 << 20)))
    odd.answers["DownloadArtifact"] = endless
    with pytest.raises(errors.DigestMismatch, match=r"f exceeds its 5,242,880 bytes"):
        await asking.download("m/1", tmp_path)
    assert listed(tmp_path) == []
    assert sent < 200


async def test_stream_that_brings_nothing_ends(odd: MisbehavingServer, hasty: AsyncClient, tmp_path: Path) -> None:
    def nothing(_: Any, context: grpc.ServicerContext) -> Iterator[pb.DownloadArtifactResponse]:
        while context.is_active():
            time.sleep(0.01)
            yield pb.DownloadArtifactResponse(chunk=b"")

    odd.has(file("f"))
    for answer in (nothing, lambda *_: odd.silence()):
        odd.answers["DownloadArtifact"] = answer
        begun = time.monotonic()
        with pytest.raises(errors.DeadlineExceeded):
            await hasty.download("m/1", tmp_path, timeout=600)
        assert time.monotonic() - begun < 60


async def test_files_larger_than_the_disk_are_refused_before_a_byte_comes(
    odd: MisbehavingServer, asking: AsyncClient, tmp_path: Path
) -> None:
    odd.has(file("f", size=2**62), file("g", size=2**62))
    with pytest.raises(errors.ResourceExhausted, match=r"lacks 9,223,372,036,854,775,808 bytes"):
        await asking.download("m/1", tmp_path)
    assert "DownloadArtifact" not in dict(odd.asked)


async def test_links_that_lead_to_each_other_are_no_way(
    odd: MisbehavingServer, asking: AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    odd.has(file("a/f"))
    with pytest.raises(errors.InvalidField, match="remove the link"):
        await asking.download("m/1", tmp_path)


@pytest.mark.parametrize("format_", [1, 2])
async def test_files_that_hold_no_model_are_told_as_such(
    odd: MisbehavingServer, asking: AsyncClient, format_: int
) -> None:
    for name in ("model.skops", "model.onnx", "other"):
        odd.has(file(name, b"no model"), format=format_)
        odd.sends(b"no model")
        with pytest.raises((errors.ModelFailed, errors.InvalidField)):
            await asking.load("m/1")


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_upload_that_the_server_takes_nothing_of_ends(odd: MisbehavingServer, kind: str, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(bytes(64 << 20))
    odd.answers["UploadBlobs"] = _asks_for_all_and_reads_nothing(odd)
    begun = time.monotonic()
    with pytest.raises(errors.DeadlineExceeded, match="sent nothing for 1 s"):
        await registered(kind, odd.target, tmp_path / "model.bin")
    assert time.monotonic() - begun < 100


def _asks_for_all_and_reads_nothing(odd: MisbehavingServer) -> Any:
    def answer(requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        first = next(requests).header
        if len([name for name, _ in odd.asked if name == "UploadBlobs"]) == 1:
            yield pb.UploadBlobsResponse(blobs=[pb.BlobStatus(sha256=first.sha256)])
        yield from odd.silence()

    return answer


@pytest.mark.parametrize("held", [[], [-1], [2], [0, 0]])
async def test_answer_about_other_files_is_no_answer(
    odd: MisbehavingServer, asking: AsyncClient, held: list[int], tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"x")
    status = [pb.BlobStatus(received_bytes=count) for count in held]
    odd.answers["UploadBlobs"] = lambda *_: [pb.UploadBlobsResponse(blobs=status)]
    with pytest.raises(errors.UnexpectedError, match="does not match the requested files"):
        await asking.register("m", tmp_path / "f")


async def test_file_that_goes_while_it_is_sent_is_told(
    odd: MisbehavingServer, asking: AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "f").write_bytes(b"x")

    def lose(requests: Any, _: Any) -> Iterator[Any]:
        (tmp_path / "f").unlink(missing_ok=True)
        yield pb.UploadBlobsResponse(blobs=[pb.BlobStatus() for _ in requests])

    odd.answers["UploadBlobs"] = lose
    with pytest.raises(FileNotFoundError):
        await asking.register("m", tmp_path / "f")


def test_folder_with_names_that_are_no_unicode_is_refused_before_it_is_sent(
    odd: MisbehavingServer, tmp_path: Path
) -> None:
    with suppress(OSError):  # Not every file system takes such a name.
        Path(str(tmp_path / "bad\udcff")).write_bytes(b"x")
        with Client(odd.target, timeout=1) as client, pytest.raises(errors.InvalidField, match="lone surrogate"):
            client.register("m", tmp_path)


class followed:  # noqa: N801 - used as a function
    """Enter a follower of the async client; what it raises then is what one gets."""

    def __init__(self, target: str, cache: Path) -> None:
        self._client = AsyncClient(target, timeout=PATIENCE_SECONDS)
        self._cache = cache

    async def __aenter__(self) -> Any:
        try:
            async with self._client.follow("m", cache=self._cache) as live:
                return live.current
        except errors.ModelwardError as error:
            return error

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()


async def registered(kind: str, target: str, path: Path) -> Any:
    if kind == "async":
        async with AsyncClient(target, timeout=1) as client:
            return await client.register("m", path, timeout=600)
    with Client(target, timeout=1) as client:
        return client.register("m", path, timeout=600)

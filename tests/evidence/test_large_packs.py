"""Packs of thousands of versions: the memory to write them is bounded, and they verify."""

import tracemalloc
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modelward.evidence.verify import verify_foreign_pack, verify_pack
from modelward_server.evidence.pack import LogHeadRecord, PackWriter

pytestmark = pytest.mark.system  # Takes seconds.

FILES = 15
"""Of each version."""


def write(pack: Path, versions: int) -> int:
    """Write a pack, and return the peak of the memory for it in bytes."""
    tracemalloc.start()
    head = LogHeadRecord(0, bytes(32), datetime.now(UTC))
    with closing(PackWriter(head, {}, None, None, pack.parent)) as writer, pack.open("wb") as file:
        file.writelines(writer.begin())
        for version in range(versions):
            writer._versions.append((f"model-{version:05}/1", "0" * 64))
            for number in range(FILES):
                file.writelines(writer.add(f"versions/model-{version:05}/1/files/{number}", [b"weights"]))
        file.writelines(writer.finish())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_the_memory_for_a_pack_hardly_grows_with_its_versions(tmp_path: Path) -> None:
    few, many = (write(tmp_path / "pack.zip", versions) for versions in (100, 1_100))
    assert (many - few) / 1_000 < 8_000, "bytes for each version: what is signed of it, and nothing of its files"


@pytest.mark.weekly
def test_a_pack_of_more_files_than_two_bytes_count_verifies(tmp_path: Path) -> None:
    pack = tmp_path / "pack.zip"
    write(pack, 4_400)
    found = verify_pack(pack)
    assert (found.defects, found.files, len(found.versions)) == ((), 66_001, 4_400)
    [defect] = verify_foreign_pack(pack, [], 1 << 30).defects
    assert "which is too large" in defect, "a server that imports packs of others reads no such directory"

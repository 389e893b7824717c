"""The bytes of a ZIP file between and behind the contents of its files, of which none may differ from what was written.

A signature covers all bytes before the last file. What is left is checked here: the header of that file, the directory
and the record at the end, whose fields follow from what they describe, or are the same for all files.
"""

import hashlib
import struct
import zipfile
from collections.abc import Iterator
from typing import IO

READ_BYTES = 1 << 20
LOCAL = struct.Struct("<4s5H3L2H")
"""The header before a file (PKWARE's APPNOTE, 4.3.7)."""
DESCRIPTOR = struct.Struct("<4sLQQ")
"""Behind a file: its checksum and sizes (4.3.9), with sizes of 8 bytes."""
ENTRY = struct.Struct("<4s6H3L5H2L")
"""The beginning of a file's entry in the directory (4.3.12)."""
END = struct.Struct("<4s4H2LH")
"""The record at the end (4.3.16)."""
END64 = struct.Struct("<4sQ2H2L4Q")
"""The record before the end of a ZIP file with larger numbers (4.3.14)."""
LOCATOR = struct.Struct("<4sLQL")
"""The record between these two (4.3.15)."""
MAX_FILES, MAX_DIRECTORY_BYTES = 1_000_000, 256 << 20
"""Of a pack: the directory is held in memory, and is not verified before it is read."""
MAX_FOREIGN_FILES, MAX_FOREIGN_DIRECTORY_BYTES = 50_000, 8 << 20
"""The same where anybody may have sent it."""
LARGE = (1 << 31) - 1
"""Above this, numbers are also written in 8 bytes: sizes and places of files behind their names, others in `END64`."""
MAX_NUMBER, MAX_SHORT_NUMBER = 0xFFFFFFFF, 0xFFFF
"""The largest in a field of 4 and of 2 bytes, also in place of a larger one."""
UTF8_NAME = 0x800
"""The flag of a name with other characters than ASCII."""


def check_directory(file: IO[bytes], is_foreign: bool) -> None:
    """Refuse a directory that is too large to be read.

    Args:
        file: the bytes of a ZIP file, open for reading.
        is_foreign: whether anybody may have sent it.

    Raises:
        zipfile.BadZipFile: it is, or there is none at the end.
    """
    tail = END64.size + LOCATOR.size + END.size
    size = file.seek(0, 2)
    file.seek(max(0, size - tail))
    found = file.read().rjust(tail)
    record, _, _, _, number, length, _, _ = END.unpack(found[-END.size :])
    if record != b"PK\x05\x06":
        raise zipfile.BadZipFile("it does not end with the record of its directory")
    if found[END64.size :].startswith(b"PK\x06\x07"):
        *_, number, length, _ = END64.unpack(found[: END64.size])
    files, bytes_ = (MAX_FOREIGN_FILES, MAX_FOREIGN_DIRECTORY_BYTES) if is_foreign else (MAX_FILES, MAX_DIRECTORY_BYTES)
    if number > files or length > bytes_:
        raise zipfile.BadZipFile(f"its directory has {number:,} files in {length:,} bytes, which is too large")


def structure_defects(opened: zipfile.ZipFile, file: IO[bytes]) -> Iterator[str]:
    """Yield what differs from the structure of a pack.

    Args:
        opened: the ZIP file.
        file: its bytes, open for reading.

    Returns:
        A text for each defect, beginning with the file that it is about.
    """
    infos = opened.infolist()
    for info in infos:
        method = zipfile.ZIP_STORED if info is infos[-1] else zipfile.ZIP_DEFLATED
        same = (_common(info), info.compress_type) == (_common(infos[0]), method)
        if not same or info.comment or info.extra != large_numbers(info) or not _is_described(info, file):
            yield f"{info.filename}: its entry in the ZIP's directory was changed"
    if infos and not _is_last_intact(infos, file):
        yield f"{infos[-1].filename}: its header in the ZIP was changed"
    if infos and not _is_end_intact(opened, file):
        yield "the end of the ZIP was changed"


def digest_until(file: IO[bytes], end: int) -> str:
    """Return the SHA-256 of the first bytes of a file.

    Args:
        file: open for reading.
        end: the number of bytes.

    Returns:
        The digest, as hex; of fewer bytes, where the file has fewer.
    """
    digest = hashlib.sha256()
    file.seek(0)
    while end and (chunk := file.read(min(READ_BYTES, end))):
        digest.update(chunk)
        end -= len(chunk)
    return digest.hexdigest()


def _is_described(info: zipfile.ZipInfo, file: IO[bytes]) -> bool:
    """Compare the checksum and the sizes in the directory with those behind the file, which the signature covers."""
    local = _local(info, file)
    described = DESCRIPTOR.pack(b"PK\x07\x08", info.CRC, info.compress_size, info.file_size)
    return local is not None and local.behind == described


def _common(info: zipfile.ZipInfo) -> tuple[object, ...]:
    """Return the fields of an entry that are the same for all."""
    systems = info.create_system, info.create_version, info.extract_version, info.reserved
    flags = info.flag_bits & ~UTF8_NAME, bool(info.flag_bits & UTF8_NAME) is not info.filename.isascii()
    kinds = info.date_time, info.volume, info.internal_attr, info.external_attr
    return *systems, *flags, *kinds


def _is_last_intact(infos: list[zipfile.ZipInfo], file: IO[bytes]) -> bool:
    """Compare the header of the last file with that of the first, which the signature covers."""
    first, last = (_local(info, file) for info in (infos[0], infos[-1]))
    return (
        first is not None
        and last is not None
        and last.fields == first.fields
        and last.method == zipfile.ZIP_STORED
        and last.name == infos[-1].filename.encode()
        and last.extra == first.extra
    )


class _Local:
    """The header of a file, and what is behind its content."""

    def __init__(self, info: zipfile.ZipInfo, file: IO[bytes]) -> None:
        file.seek(info.header_offset)
        signature, needed, flags, self.method, *sizes, name, extra = LOCAL.unpack(file.read(LOCAL.size))
        self.fields = signature, needed, flags, *sizes
        self.name, self.extra = file.read(name), file.read(extra)
        file.seek(info.compress_size, 1)
        self.behind = file.read(DESCRIPTOR.size)


def _local(info: zipfile.ZipInfo, file: IO[bytes]) -> _Local | None:
    try:
        return _Local(info, file)
    except struct.error:
        return None


def _is_end_intact(opened: zipfile.ZipFile, file: IO[bytes]) -> bool:
    """Compare the lengths in the last entry, and the records behind the directory, with its entries."""
    begin, infos = opened.start_dir, opened.infolist()
    lengths = [(len(info.filename.encode()), len(large_numbers(info)), 0) for info in infos]
    length = sum(ENTRY.size + name + extra for name, extra, _ in lengths)
    file.seek(max(0, begin + length - ENTRY.size - sum(lengths[-1])))
    last = ENTRY.unpack(file.read(ENTRY.size).ljust(ENTRY.size))
    file.seek(begin + length)
    expected = end_records(len(infos), length, begin)
    return last[-7:-4] == lengths[-1] and file.read(len(expected) + 1) == expected


def large_numbers(info: zipfile.ZipInfo) -> bytes:
    """Return what the entry of a file has behind its name: the numbers that are too large for their fields (4.5.3).

    Args:
        info: the file.
    """
    sizes = [info.file_size, info.compress_size] if max(info.file_size, info.compress_size) > LARGE else []
    large = [*sizes, *([info.header_offset] if info.header_offset > LARGE else [])]
    return struct.pack(f"<2H{len(large)}Q", 1, 8 * len(large), *large) if large else b""


def end_records(number: int, length: int, begin: int) -> bytes:
    """Return the records behind a directory.

    Args:
        number: the number of its entries.
        length: their bytes.
        begin: the place at which it begins.
    """
    counted, placed = min(number, MAX_SHORT_NUMBER), min(begin, MAX_NUMBER)
    short = END.pack(b"PK\x05\x06", 0, 0, counted, counted, min(length, MAX_NUMBER), placed, 0)
    if number <= MAX_SHORT_NUMBER and max(begin, length) <= LARGE:
        return short
    long = END64.pack(b"PK\x06\x06", END64.size - 12, 45, 45, 0, 0, number, number, length, begin)
    return long + LOCATOR.pack(b"PK\x06\x07", 0, begin + length, 1) + short

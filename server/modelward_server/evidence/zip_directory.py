"""The directory at the end of a ZIP file, kept outside of memory while the file is written.

The standard library's writer keeps an object for each file until the end; a pack of many versions has many files.
"""

import zipfile
from collections.abc import Iterator

from modelward.evidence import zip_structure
from modelward.evidence.zip_structure import ENTRY, MAX_NUMBER, UTF8_NAME, end_records, large_numbers
from modelward_server.evidence.spool import Spool


class ZipDirectory:
    """Collects the entries of files that were written.

    Args:
        entries: where they are kept.
    """

    def __init__(self, entries: Spool) -> None:
        self._entries = entries

    def take_from(self, writer: zipfile.ZipFile) -> None:
        """Move the entries of what a writer has written since the last time."""
        for info in writer.filelist:
            self._entries.add(_entry(info))
        writer.filelist.clear()
        writer.NameToInfo.clear()

    def pieces(self, begin: int) -> Iterator[bytes]:
        """Yield the directory, which begins at a place, and the records behind it."""
        yield from self._entries.pieces()
        yield end_records(self._entries.number, self._entries.size, begin)

    def close(self) -> None:
        """Drop the entries."""
        self._entries.close()


def _entry(info: zipfile.ZipInfo) -> bytes:
    """Return the entry of a file (PKWARE's APPNOTE, 4.3.12), as the standard library writes it."""
    name, large = info.filename.encode(), large_numbers(info)
    sizes, place = (info.compress_size, info.file_size), info.header_offset
    fields = (
        b"PK\x01\x02",
        info.create_system << 8 | info.create_version,
        info.extract_version,
        info.flag_bits | (0 if info.filename.isascii() else UTF8_NAME),
        info.compress_type,
        *_dos_time(info),
        info.CRC,
        *((MAX_NUMBER, MAX_NUMBER) if max(sizes) > zip_structure.LARGE else sizes),
        *(len(name), len(large), 0, 0, info.internal_attr, info.external_attr),
        MAX_NUMBER if place > zip_structure.LARGE else place,
    )
    return ENTRY.pack(*fields) + name + large


def _dos_time(info: zipfile.ZipInfo) -> tuple[int, int]:
    year, month, day, hour, minute, second = info.date_time
    return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day

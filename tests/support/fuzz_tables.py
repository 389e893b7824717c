"""Broken files of tables by the thousand, in a process with a memory limit: `python -m tests.support.fuzz_tables`.

Bytes are changed, left out and added, and numbers are patched to be negative, huge or near to what they were. Printed
is how many files were read and refused, and the peak of the memory beside what the process begins with.
"""

import json
import random
import resource
import struct
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa

from modelward.errors import InvalidField, LimitReached
from modelward_server.storage import arrow_tables
from modelward_server.storage.arrow_tables import arrow_columns
from modelward_server.storage.parquet import read_parquet
from modelward_server.storage.table_memory import MEMORY
from tests.support.decompression_bombs import LZ4, ZSTD, _parquet, arrow

ROOM = 512 << 20
BUDGET = 64 << 20
NUMBERS = [0, 1, -1, 7, 8, 255, 256, 2**15, 2**31 - 1, -(2**31), 2**40, 2**62, 2**63 - 1, -(2**63)]


def table() -> pa.Table:
    numbers = np.random.default_rng(0)
    words = pa.array(["calm", "crisis", None, "é"] * 50)
    return pa.table(
        {
            "a": numbers.normal(size=200),
            "n": pa.array([1, None, 3, 4] * 50, pa.int32()),
            "s": words,
            "d": words.dictionary_encode(),
            "b": pa.array([True, None] * 100),
            "l": words.cast(pa.large_string()),
            "t": pa.array([0, None] * 100, pa.timestamp("ns", "UTC")),
        }
    )


def broken(content: bytes, numbers: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(numbers.randint(1, 4)):
        at = numbers.randrange(max(1, len(changed) - 8))
        how = numbers.randrange(5)
        if how == 0:
            changed[at] ^= 1 << numbers.randrange(8)
        elif how == 1:
            changed[at : at + numbers.randint(0, 8)] = numbers.randbytes(numbers.randint(0, 8))
        elif how == 2:
            kind, size = numbers.choice([("<q", 64), ("<i", 32), ("<h", 16)])
            at -= at % (size // 8)
            struct.pack_into(kind, changed, at, _fitting(numbers.choice(NUMBERS), size))
        elif how == 3:
            del changed[at:]
        else:
            changed[at : at + 8] = struct.pack(
                "<q", numbers.randint(-9, 9) + struct.unpack_from("<q", changed, at)[0] // 2
            )
        if len(changed) < 16:
            break
    return bytes(changed)


def _fitting(value: int, bits: int) -> int:
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def read_arrow(content: bytes) -> str:
    try:
        for batch in arrow_tables.read_arrow(pa.BufferReader(content), "data"):
            arrow_columns(batch, "data")
    except InvalidField:
        return "refused as wrong"
    except LimitReached:
        return "refused as too large"
    return "read"


def read_parquet_file(path: Path) -> str:
    try:
        for batch in read_parquet(str(path), "data"):
            arrow_columns(batch, "data")
    except InvalidField:
        return "refused as wrong"
    except LimitReached:
        return "refused as too large"
    return "read"


def fuzz_arrow(count: int) -> Counter[str]:
    whole = table().append_column("v", table()["s"].cast(pa.string_view()))  # Which Parquet does not have.
    kinds = [arrow(whole, options, rows) for options in (None, ZSTD, LZ4) for rows in (None, 50)]
    numbers = random.Random(5)
    return Counter(read_arrow(broken(numbers.choice(kinds), numbers)) for _ in range(count))


def fuzz_parquet(count: int) -> Counter[str]:
    whole, numbers = _parquet(table()), random.Random(6)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        paths = [Path(folder, f"{i}.parquet") for i in range(count)]
        for path in paths:
            path.write_bytes(broken(whole, numbers))
        return Counter(pool.map(read_parquet_file, paths))


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def main() -> None:
    MEMORY.limit = BUDGET
    fuzz_arrow(10)
    with suppress(ValueError, OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        most = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData")) + ROOM
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    before = peak()
    found = {"arrow": fuzz_arrow(int(sys.argv[1])), "parquet": fuzz_parquet(int(sys.argv[2]))}
    print(json.dumps({**found, "grew": peak() - before, "held": MEMORY.held}))


if __name__ == "__main__":
    main()

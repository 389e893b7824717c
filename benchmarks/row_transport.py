"""Would rows reach a model's process sooner through shared memory?

    python benchmarks/row_transport.py

Rows of 20 columns go to a forked process, which reads one number of them and answers with 8 bytes: over a socket with
the buffer that the server gives it, and through a memfd that was made once. Medians, in turn.
"""

import asyncio
import mmap
import os
import socket
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from modelward_server.sandbox.sandbox_process import SENT_BYTES

COLUMNS = 20
SIZES = {1: 200, 3_000: 200, 20_000: 50}
"""How often so many rows are sent; a call has about 25,000 at most."""
SHARED_BYTES = 8 << 20


def main() -> None:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SENT_BYTES)
    descriptor = os.memfd_create("rows")
    os.ftruncate(descriptor, SHARED_BYTES)
    shared = mmap.mmap(descriptor, SHARED_BYTES)
    if os.fork() == 0:
        ours.close()
        _answer(theirs, shared)
        os._exit(0)
    theirs.close()
    asyncio.run(_measure(ours, shared))


def _answer(requests: socket.socket, shared: mmap.mmap) -> None:
    with requests.makefile("rwb") as both:
        while header := both.read(9):
            size = int.from_bytes(header[1:], "little")
            rows = np.frombuffer(both.read(size) if header[:1] == b"s" else shared, count=size // 8)
            both.write(rows[:1].tobytes())
            both.flush()


async def _measure(ours: socket.socket, shared: mmap.mmap) -> None:
    reader, writer = await asyncio.open_connection(sock=ours)

    async def send(message: bytes) -> None:
        writer.write(message)
        await writer.drain()
        await reader.readexactly(8)

    async def by_socket(rows: Any) -> None:
        await send(b"".join((b"s", rows.nbytes.to_bytes(8, "little"), rows.data)))

    async def by_memory(rows: Any) -> None:
        np.frombuffer(shared, count=rows.size)[:] = rows.reshape(-1)
        await send(b"m" + rows.nbytes.to_bytes(8, "little"))

    for size, times in SIZES.items():
        rows = np.random.default_rng(1).normal(size=(size, COLUMNS))
        over, through = [await _median(way, rows, times) for way in (by_socket, by_memory)]
        load = os.getloadavg()[0]
        print(f"{size:,} rows: socket {over:.3f} ms, shared memory {through:.3f} ms, load average {load:.1f}")
    writer.close()


async def _median(way: Callable[[Any], Awaitable[None]], rows: Any, times: int) -> float:
    took = []
    for _ in range(times):
        begun = time.perf_counter()
        await way(rows)
        took.append(1000 * (time.perf_counter() - begun))
    return statistics.median(took)


if __name__ == "__main__":
    main()

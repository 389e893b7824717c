"""A bare grpc.aio server that writes one ready message to all of its streams when it is told to: a peer of watches.

It serves `WatchModels` for the same clients, and knows neither messages nor models: each stream waits for the signal,
and writes bytes.
"""

import asyncio
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import NamedTuple

import grpc
from grpc import aio

SERVICE = "modelward.v1.LifecycleService"
OPTIONS = [("grpc.so_reuseport", 1), ("grpc.http2.bdp_probe", 0)]


class Ready(NamedTuple):
    """The messages that each stream gets, as bytes."""

    first: bytes
    """When it begins."""
    change: bytes
    """At each signal."""


@contextmanager
def bare_server(port: int, ready: Ready, processes: int) -> Iterator[tuple[Callable[[], None], list[int]]]:
    """Run the server in processes that share a port; yield what tells them to write, and their ids."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(processes)]
    servers = [context.Process(target=_run, args=(port, ready, pipe)) for _, pipe in pipes]
    for server in servers:
        server.start()
    try:
        for own, _ in pipes:
            own.recv()  # It listens.
        yield lambda: _tell([own for own, _ in pipes]), [server.pid for server in servers if server.pid]
    finally:
        for server in servers:
            server.terminate()


def _tell(pipes: list[Connection]) -> None:
    for pipe in pipes:
        pipe.send(None)


def _run(port: int, ready: Ready, pipe: Connection) -> None:
    asyncio.run(_serve(port, ready, pipe))


async def _serve(port: int, ready: Ready, pipe: Connection) -> None:
    signal = _Signal(pipe)

    async def watch(_request: bytes, context: "aio.ServicerContext[bytes, bytes]") -> None:
        await context.write(ready.first)
        while True:
            await signal.wait()
            await context.write(ready.change)

    server = aio.server(options=OPTIONS)
    methods = {"WatchModels": grpc.unary_stream_rpc_method_handler(watch)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    pipe.send(None)
    await server.wait_for_termination()


class _Signal:
    """Wakes all who wait when something arrives in a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe, self._given = pipe, asyncio.Event()
        asyncio.get_running_loop().add_reader(pipe.fileno(), self._give)

    def _give(self) -> None:
        self._pipe.recv()
        given, self._given = self._given, asyncio.Event()
        given.set()

    async def wait(self) -> None:
        await self._given.wait()

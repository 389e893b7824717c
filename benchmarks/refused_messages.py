"""What large messages that are refused cost the server: its memory before, at its highest and after.

    python benchmarks/refused_messages.py [--messages 1000] [--at-once 32] [--megabytes 60]

`modelward serve --auth`, which is sent messages of 60 MB, 32 at a time and each from a connection of its own: by
strangers, who have no token; by a viewer, to a call that is for trainers; by the same viewer to a call that viewers may
make; and that once more as gzip, which is 60 kB on the wire and 60 MB when it is unpacked.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from resolve import _free_port
from rich.console import Console
from rpc_rates import resident_mb, running

from modelward.caller import Role
from modelward_server.security import grants
from modelward_server.security.admin_session import admin_session
from modelward_server.settings import Settings

TRAINERS, VIEWERS = "/modelward.v1.ComparisonService/BenchmarkModels", "/modelward.v1.LifecycleService/WatchModels"
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
SETTLE_SECONDS = 5.0

Server = subprocess.Popen[bytes]


class Flood:
    """Messages to one server, many at a time."""

    def __init__(self, server: Server, target: str, messages: int, at_once: int, payload: bytes) -> None:
        self._server, self._target = server, target
        self._messages, self._at_once, self._payload = messages, at_once, payload

    def run(self, method: str, token: str, gzip: bool) -> tuple[Counter[str], list[float]]:
        """Return what they ended with, and the memory while they came and a little longer, in MB."""
        over, seen = threading.Event(), [resident_mb(self._server)]
        watching = threading.Thread(target=lambda: seen.extend(self._seen(over)))
        watching.start()
        self._left = itertools.count()
        with ThreadPoolExecutor(self._at_once) as pool:
            ends = list(pool.map(lambda _: self._send(method, token, gzip), range(self._at_once)))
        time.sleep(SETTLE_SECONDS)
        over.set()
        watching.join()
        return sum(ends, Counter()), [*seen, resident_mb(self._server)]

    def _seen(self, over: threading.Event) -> Iterator[float]:
        while not over.wait(0.02):
            yield resident_mb(self._server)

    def _send(self, method: str, token: str, gzip: bool) -> Counter[str]:
        compression = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression
        metadata = [("authorization", f"Bearer {token}")] if token else []
        ends: Counter[str] = Counter()
        with grpc.insecure_channel(self._target, OPTIONS, compression) as channel:
            call = channel.unary_unary(method)
            while next(self._left) < self._messages:
                try:
                    call(self._payload, metadata=metadata, timeout=600)
                    ends["OK"] += 1
                except grpc.RpcError as error:
                    ends[error.code().name] += 1
        return ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=1_000)
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--megabytes", type=int, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings, port = Settings(data_dir=Path(folder)), _free_port()
        with admin_session(settings) as (session, caller):
            token = grants.create_token(session, "vera", Role.VIEWER, (), None, caller)
        command = [
            sys.executable,
            "-m",
            "modelward",
            "serve",
            "--port",
            str(port),
            "--data-dir",
            folder,
            "--auth",
            "true",
        ]
        with running(command) as server:
            _wait(target := f"127.0.0.1:{port}")
            payload = b"\x0a\x00" * (asked.megabytes << 19)
            _floods(Flood(server, target, asked.messages, asked.at_once, payload), token)


def _wait(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        grpc.channel_ready_future(channel).result(120)


def _floods(flood: Flood, token: str) -> None:
    for name, method, shown, gzip in (
        ("of strangers", TRAINERS, "", False),
        ("of a viewer, to a call of trainers", TRAINERS, token, False),
        ("of a viewer, to a call of viewers", VIEWERS, token, False),
        ("the same as gzip", VIEWERS, token, True),
    ):
        ends, seen = flood.run(method, shown, gzip)
        said = ", ".join(f"{count:,} {end}" for end, count in ends.items())
        memory = f"{seen[0]:.0f} MB before, {max(seen):.0f} at the highest, {seen[-1]:.0f} after"
        Console().print(f"{name}: {said}; {memory}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()

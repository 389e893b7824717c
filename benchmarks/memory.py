"""How much memory does drift over large data take? Modelward's server beside `pandas.read_parquet`, in one run.

    python benchmarks/memory.py [--rows 10000000]

Ours: `modelward serve` in a process of its own, a reference of 10 features by 100,000 rows, and live data that are sent
as a stream and read as a Parquet folder. Told is by how much each process's peak of resident memory grew.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from resolve import _free_port, _wait_for
from rich.console import Console
from rich.table import Table

from modelward import Client
from modelward.v1 import drift_pb2 as pb
from modelward.v1.drift_pb2_grpc import DriftServiceStub

FEATURES = 10
BATCH_ROWS = 10_000
FILES = 10
MIB = 1 << 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder / "live", rows)
        table = Table("work", "size MiB", "grew by MiB")
        for work, grew in {**_ours(folder, rows), "pandas.read_parquet": _pandas(folder / "live")}.items():
            table.add_row(work, f"{rows * FEATURES * 8 / MIB:,.0f}", f"{grew:,.0f}")
    Console().print(table)


def _batches(rows: int) -> Iterator[pa.RecordBatch]:
    random = np.random.default_rng(1)
    for _ in range(rows // BATCH_ROWS):
        yield pa.record_batch({f"x{i}": random.normal(size=BATCH_ROWS) for i in range(FEATURES)})


def _write(folder: Path, rows: int) -> None:
    folder.mkdir()
    for i in range(FILES):
        with pq.ParquetWriter(folder / f"{i}.parquet", next(_batches(BATCH_ROWS)).schema) as writer:
            for batch in _batches(rows // FILES):
                writer.write_batch(batch)


def _ours(folder: Path, rows: int) -> dict[str, float]:
    random = np.random.default_rng(0)
    port = _free_port()
    flags = ["--port", str(port), "--data-dir", str(folder / "data"), "--allowed-sources", folder.as_uri()]
    server = subprocess.Popen([sys.executable, "-m", "modelward", "serve", *flags])
    try:
        with Client(f"127.0.0.1:{port}", timeout=3600) as client:
            _wait_for(lambda: client.verify_audit_log().intact)
            (folder / "model.bin").write_bytes(b"weights")
            reference = {f"x{i}": random.normal(size=100_000) for i in range(FEATURES)}
            client.register("large", folder / "model.bin", reference=reference)
            client.detect_drift("large/1", {name: values[:1000] for name, values in reference.items()})
            before = _forget_peak(server.pid)
            _stream(port, rows)
            streamed = _peak(server.pid) - before
            before = _forget_peak(server.pid)
            client.detect_drift_uri("large/1", (folder / "live").as_uri())
            read = _peak(server.pid) - before
    finally:
        server.terminate()
        server.wait()
    return {"Modelward: a stream": streamed, "Modelward: a Parquet folder": read}


def _stream(port: int, rows: int) -> None:
    def parts() -> Iterator[pb.DetectDriftStreamRequest]:
        header = pb.DetectDriftHeader()
        header.version.model, header.version.version = "large", 1
        yield pb.DetectDriftStreamRequest(header=header)
        sink = _Chunks()
        batches = _batches(rows)
        first = next(batches)
        with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), first.schema) as writer:
            writer.write_batch(first)
            for batch in batches:
                writer.write_batch(batch)
                yield from sink.taken()
        yield from sink.taken()

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = DriftServiceStub(channel)
        stub.DetectDriftStream(parts(), timeout=3600)


class _Chunks:
    """A file whose content is taken away as it is written."""

    closed = False

    def __init__(self) -> None:
        self._content = bytearray()

    def write(self, content: bytes) -> int:
        self._content += content
        return len(content)

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def taken(self) -> Iterator[pb.DetectDriftStreamRequest]:
        content, self._content = bytes(self._content), bytearray()
        for start in range(0, len(content), MIB):
            yield pb.DetectDriftStreamRequest(arrow_ipc=content[start : start + MIB])


def _pandas(folder: Path) -> float:
    script = (
        "import resource, pandas; peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024;"
        f"import pyarrow.parquet; before = peak(); pandas.read_parquet({str(folder)!r}); print(peak() - before)"
    )
    return float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


def _forget_peak(pid: int) -> float:
    """Let the kernel measure a process's peak from now on, and return the memory that it has now, in MiB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return _status(pid, "VmRSS")


def _peak(pid: int) -> float:
    return _status(pid, "VmHWM")


def _status(pid: int, name: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()

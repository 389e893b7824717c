"""What a client may do to a server, by mistake or on purpose: for the measurements that mix it in.

python benchmarks/attacks.py HOST:PORT SECONDS AT_ONCE
"""

import asyncio
import hashlib
import io
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pyarrow as pa

from modelward.v1 import drift_pb2, lifecycle_pb2
from modelward.v1.common_pb2 import Dataset, ModelVersionRef
from modelward.v1.drift_pb2_grpc import DriftServiceStub
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub

REF = ModelVersionRef(model="spx", version=1)
PIECE = 1000


def _packed(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    return sink.getvalue()


TABLE = _packed(pa.table({"x": np.random.default_rng(0).normal(size=500)}))
BOMBS = (
    _packed(pa.table({"x": np.zeros(150_000_000)})),
    _packed(pa.table({"x": pa.DictionaryArray.from_arrays(np.zeros(2_000_000, np.int8), ["x" * 100_000])})),
)
"""Tables of a few kilobytes: doubles of 1.2 GB, and texts of 200 GB."""
PIECES = [TABLE[i : i + PIECE] for i in range(0, len(TABLE), PIECE)]


def _upload() -> list[Any]:
    content = uuid4().bytes * 100
    header = lifecycle_pb2.BlobHeader(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    chunks = [lifecycle_pb2.UploadBlobsRequest(chunk=content[i : i + 400]) for i in range(0, len(content), 400)]
    return [lifecycle_pb2.UploadBlobsRequest(header=header), *chunks]


def _reference() -> list[Any]:
    header = drift_pb2.SetReferenceRequest(header=drift_pb2.ReferenceHeader(version=REF, name="other"))
    return [header, *(drift_pb2.SetReferenceRequest(arrow_ipc=piece) for piece in PIECES)]


def _drift() -> list[Any]:
    header = drift_pb2.DetectDriftStreamRequest(header=drift_pb2.DetectDriftHeader(version=REF))
    return [header, *(drift_pb2.DetectDriftStreamRequest(arrow_ipc=piece) for piece in PIECES)]


def _observe() -> list[Any]:
    header = drift_pb2.ObserveHeader(version=REF, sender=uuid4().hex, rows=1_000_000)
    batch = drift_pb2.ObserveBatch(number=1, data=Dataset(arrow_ipc=TABLE))
    return [drift_pb2.ObserveRequest(header=header), drift_pb2.ObserveRequest(batch=batch)]


Kind = tuple[Callable[[grpc.aio.Channel], Any], Callable[[], list[Any]]]
KINDS: tuple[Kind, ...] = (
    (lambda channel: LifecycleServiceStub(channel).UploadBlobs, _upload),
    (lambda channel: DriftServiceStub(channel).SetReference, _reference),
    (lambda channel: DriftServiceStub(channel).DetectDriftStream, _drift),
    (lambda channel: DriftServiceStub(channel).Observe, _observe),
)
"""Each call that takes a stream of requests, with what makes the parts of one."""


async def stall(channel: grpc.aio.Channel, kind: Kind) -> Any:
    """Send two parts and then neither more nor the end; return the call."""
    call = kind[0](channel)()
    for part in kind[1]()[:2]:
        await call.write(part)
        if isinstance(call, grpc.aio.StreamStreamCall):
            await call.read()  # What was sent has been worked on: from here on the call does nothing.
    return call


async def cut_off(channel: grpc.aio.Channel, chance: Random) -> None:
    """Send a stream up to a random byte, and leave."""
    method, parts = chance.choice(KINDS)
    call, sent = method(channel)(), parts()
    number = chance.randrange(len(sent))
    for field, value in sent[number].ListFields():
        if isinstance(value, bytes):
            setattr(sent[number], field.name, value[: chance.randrange(len(value) + 1)])
    try:
        for part in sent[: number + 1]:
            await call.write(part)
    except (grpc.RpcError, grpc.aio.UsageError):
        return  # The server has refused it already.
    call.cancel()


async def oversized(channel: grpc.aio.Channel, chance: Random) -> None:
    """Send a message far beyond what the contract allows, plain or as a few kilobytes of gzip."""
    method = channel.unary_unary("/modelward.v1.LifecycleService/ListModels")
    compression = chance.choice([grpc.Compression.NoCompression, grpc.Compression.Gzip])
    await method(bytes(60 << 20), timeout=30, compression=compression)


async def garbage(channel: grpc.aio.Channel, chance: Random) -> None:
    """Send bytes that are no message."""
    method = channel.unary_unary("/modelward.v1.DriftService/DetectDrift")
    await method(chance.randbytes(chance.randrange(1, 5000)), timeout=30)


async def bomb(channel: grpc.aio.Channel, chance: Random) -> None:
    """Send a small table that unpacks to a gigabyte or more."""
    data = Dataset(arrow_ipc=chance.choice(BOMBS))
    request = drift_pb2.DetectDriftRequest(version=REF, data=data)
    await DriftServiceStub(channel).DetectDrift(request, timeout=60)


async def forged(channel: grpc.aio.Channel, chance: Random) -> None:
    """Send a page token that nobody gave."""
    request = lifecycle_pb2.ListModelsRequest(page_token=chance.randbytes(30).hex())
    await LifecycleServiceStub(channel).ListModels(request, timeout=30)


async def stalled_for_a_while(channel: grpc.aio.Channel, chance: Random) -> None:
    """Send a part of a stream, and leave some seconds later."""
    call = await stall(channel, chance.choice(KINDS))
    await asyncio.sleep(chance.random() * 5)
    call.cancel()


ATTACKS = (stalled_for_a_while, cut_off, oversized, garbage, bomb, forged)


async def attack(target: str, seconds: float, at_once: int, seed: int = 7) -> Counter[str]:
    """Attack for so many seconds, and return how each attack ended."""
    chance, ended = Random(seed), Counter[str]()  # noqa: S311
    end = time.monotonic() + seconds

    async def one(channel: grpc.aio.Channel) -> None:
        while time.monotonic() < end:
            kind = chance.choice(ATTACKS)
            try:
                await kind(channel, chance)
                ended[f"{kind.__name__} ended"] += 1
            except grpc.aio.AioRpcError as error:
                ended[f"{kind.__name__} {error.code().name}"] += 1

    async with grpc.aio.insecure_channel(target, options=[("grpc.max_send_message_length", -1)]) as channel:
        await asyncio.gather(*(one(channel) for _ in range(at_once)))
    return ended


async def honest_drift(target: str) -> str:
    """Send a whole stream on a connection of its own, and say how it ended."""

    async def parts() -> AsyncIterator[Any]:
        for part in _drift():
            yield part

    async with grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            await DriftServiceStub(channel).DetectDriftStream(parts(), timeout=120)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                return "come again"
            raise
    return "done"


if __name__ == "__main__":
    print(dict(sorted(asyncio.run(attack(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]))).items())))

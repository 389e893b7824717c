"""Streams of requests whose sender stops in the middle, and honest ones beside them."""

import hashlib
import io
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pyarrow as pa

from modelward.v1 import common_pb2, drift_pb2, lifecycle_pb2
from modelward.v1.drift_pb2_grpc import DriftServiceStub
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub

Parts = list[Any]


def arrow_table(rows: int = 500) -> bytes:
    table = pa.table({"x": np.random.default_rng(0).normal(size=rows)})
    with io.BytesIO() as sink:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue()


TABLE = arrow_table()


@dataclass(frozen=True)
class Kind:
    """A call that takes a stream of requests: its parts, whole."""

    name: str
    call: Callable[[grpc.aio.Channel], Any]
    parts: Callable[[common_pb2.ModelVersionRef], Parts]


def _upload(_version: common_pb2.ModelVersionRef) -> Parts:
    content = uuid4().bytes * 100
    header = lifecycle_pb2.BlobHeader(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    chunks = (content[i : i + 400] for i in range(0, len(content), 400))
    return [
        lifecycle_pb2.UploadBlobsRequest(header=header),
        *(lifecycle_pb2.UploadBlobsRequest(chunk=chunk) for chunk in chunks),
    ]


def _pieces() -> list[bytes]:
    return [TABLE[i : i + 1000] for i in range(0, len(TABLE), 1000)]


def _reference(version: common_pb2.ModelVersionRef) -> Parts:
    header = drift_pb2.ReferenceHeader(version=version, name="other")
    return [
        drift_pb2.SetReferenceRequest(header=header),
        *(drift_pb2.SetReferenceRequest(arrow_ipc=piece) for piece in _pieces()),
    ]


def _drift(version: common_pb2.ModelVersionRef) -> Parts:
    header = drift_pb2.DetectDriftHeader(version=version)
    return [
        drift_pb2.DetectDriftStreamRequest(header=header),
        *(drift_pb2.DetectDriftStreamRequest(arrow_ipc=piece) for piece in _pieces()),
    ]


def _observe(version: common_pb2.ModelVersionRef) -> Parts:
    header = drift_pb2.ObserveHeader(version=version, sender=uuid4().hex, rows=1_000_000)
    batches = (
        drift_pb2.ObserveBatch(number=number, data=common_pb2.Dataset(arrow_ipc=TABLE)) for number in range(1, 4)
    )
    return [
        drift_pb2.ObserveRequest(header=header),
        *(drift_pb2.ObserveRequest(batch=batch) for batch in batches),
    ]


UPLOAD = Kind("UploadBlobs", lambda channel: LifecycleServiceStub(channel).UploadBlobs, _upload)
REFERENCE = Kind("SetReference", lambda channel: DriftServiceStub(channel).SetReference, _reference)
DRIFT = Kind("DetectDriftStream", lambda channel: DriftServiceStub(channel).DetectDriftStream, _drift)
OBSERVE = Kind("Observe", lambda channel: DriftServiceStub(channel).Observe, _observe)
KINDS = (UPLOAD, REFERENCE, DRIFT, OBSERVE)


class StalledStream:
    """A call whose sender sends some of its parts and then neither more nor the end."""

    def __init__(self, channel: grpc.aio.Channel, kind: Kind, version: common_pb2.ModelVersionRef, sent: int) -> None:
        self.kind = kind
        self.call = kind.call(channel)()
        self._parts = kind.parts(version)[:sent]

    async def begin(self) -> None:
        for part in self._parts:
            await self.call.write(part)


def cut_off(parts: Parts, chance: random.Random) -> Parts:
    """Return a stream's parts up to a random byte of one of them."""
    number = chance.randrange(len(parts))
    last = type(parts[number])()
    last.CopyFrom(parts[number])
    for field, value in last.ListFields():
        if isinstance(value, bytes):
            setattr(last, field.name, value[: chance.randrange(len(value) + 1)])
    return [*parts[:number], last]


async def as_stream(parts: Parts) -> AsyncIterator[Any]:
    for part in parts:
        yield part

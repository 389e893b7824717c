"""Requests that nobody should send, made from the contract's descriptors: a new call is covered as it comes."""

import importlib
import pkgutil
import random
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp

import modelward.v1

TEXTS = [
    "",
    " ",
    "\0",
    "spx\0",
    "a\nb",
    "\x7f\x1b[31m",
    "../../../etc/passwd",
    "/etc/passwd",
    "..\\..",
    "file:///etc/passwd",
    "file:///proc/self/environ",
    "s3://none/such",
    "models:/spx/1",
    "runs:/00/none",
    "http://127.0.0.1:1/",
    "' OR 1=1; --",
    "%s%n%x{0}{{",
    "\u202egnp.exe",
    "😀" * 64,
    "é" * 128,
    "\ufeff\uffff",
    "NaN",
    "-1",
    "9" * 400,
    "A" * 128,
    "A" * 129,
    "x" * 20_000,
    "$(id)`id`",
    "<script>alert(1)</script>",
    "1/2/3",
]
DOUBLES = [0.0, -0.0, -1.0, 5e-324, 1e-300, 1.7e308, -1.7e308, float("nan"), float("inf"), float("-inf"), 1e60, 2.0**63]
BITS_32 = [0, -1, 1, 2, 1000, 1001, 2**31 - 1, -(2**31)]
BITS_64 = [*BITS_32, 2**53 + 1, 2**63 - 1, -(2**63)]
SECONDS = [
    0,
    -1,
    1,
    2**31,
    1_700_000_000,
    253_402_300_799,
    253_402_300_800,
    -62_135_596_800,
    -62_135_596_801,
    2**63 - 1,
]
NANOS = [0, 1, -1, 999_999_999, 10**9, -(2**31), 2**31 - 1]
DEEPEST = 8
MOST_ITEMS = 4


def methods() -> list[MethodDescriptor]:
    """Return every call of the contract."""
    found = []
    for module in pkgutil.iter_modules(modelward.v1.__path__):
        if module.name.endswith("_pb2"):
            file = importlib.import_module(f"modelward.v1.{module.name}").DESCRIPTOR
            found += [method for service in file.services_by_name.values() for method in service.methods]
    return found


@dataclass
class Known:
    """What is there on the server, for requests that come far: values by the name of the field."""

    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    blobs: Sequence[bytes] = ()


class RequestFuzzer:
    """Makes messages at random; the same seed makes the same ones."""

    def __init__(self, seed: int, known: Known) -> None:
        self._random = random.Random(seed)
        self._known = known
        self._badness = 0.0

    def message(self, kind: Descriptor) -> Message:
        """Make a message whose fields are all right, or a few or many of them wrong."""
        self._badness = self._random.choice([0.0, 0.05, 0.2, 0.7])
        return self._message(kind, 0)

    def broken(self, message: Message) -> bytes:
        """Return a message's bytes with some changed, left out or added."""
        raw = bytearray(message.SerializeToString())
        for _ in range(self._random.randint(1, 5)):
            at = self._random.randint(0, len(raw))
            how = self._random.choice(["change", "leave out", "add"])
            new = b"" if how == "leave out" else self._random.randbytes(self._random.randint(1, 8))
            raw[at : at + (0 if how == "add" else self._random.randint(1, 8))] = new
        return bytes(raw)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def count(self, most: int) -> int:
        return self._random.randint(0, most)

    def _bad(self) -> bool:
        return self.chance(self._badness)

    def _message(self, kind: Descriptor, depth: int) -> Message:
        message = GetMessageClass(kind)()
        if isinstance(message, (Timestamp, Duration)):
            self._set_time(message)
        elif isinstance(message, FieldMask):
            message.paths.extend(self._paths())
        else:
            for one in self._chosen(kind):
                self._set(message, one, depth)
        return message

    def _chosen(self, kind: Descriptor) -> Iterator[FieldDescriptor]:
        """Choose which fields to set: of a oneof just one."""
        for one in kind.fields:
            if one.containing_oneof is None and self.chance(0.8):
                yield one
        for group in kind.oneofs:
            if self.chance(0.95):
                yield self._random.choice(list(group.fields))

    def _set(self, message: Any, one: FieldDescriptor, depth: int) -> None:
        if one.message_type and one.message_type.GetOptions().map_entry:
            self._set_map(getattr(message, one.name), one.message_type, depth)
        elif one.is_repeated:
            values = [self._value(one, depth) for _ in range(self.count(MOST_ITEMS)) if depth < DEEPEST]
            getattr(message, one.name).extend(values)
        elif one.message_type:
            if depth < DEEPEST and not self._bad():
                getattr(message, one.name).CopyFrom(self._value(one, depth))
        else:
            setattr(message, one.name, self._value(one, depth))

    def _set_map(self, target: Any, entry: Descriptor, depth: int) -> None:
        key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
        for _ in range(self.count(MOST_ITEMS)):
            made = self._value(value, depth)
            if value.message_type:
                target[self._value(key, depth)].CopyFrom(made)
            else:
                target[self._value(key, depth)] = made

    def _value(self, one: FieldDescriptor, depth: int) -> Any:
        if one.message_type:
            return self._message(one.message_type, depth + 1)
        if one.enum_type:
            known = [value.number for value in one.enum_type.values]
            return self._random.choice(BITS_32 if self._bad() else known)
        return _MAKERS[one.cpp_type](self, one)

    def _text(self, one: FieldDescriptor) -> Any:
        if one.type == FieldDescriptor.TYPE_BYTES:
            return self._random.randbytes(self.count(200)) if self._bad() else self._random.choice(self._known.blobs)
        if self._bad():
            return self._random.choice(TEXTS)
        if one.name == "request_id":
            return str(UUID(int=self._random.getrandbits(128))) if self.chance(0.5) else ""
        return self._random.choice(self._known.texts.get(one.name, ["a", "b", "label", "x"]))

    def _whole(self, one: FieldDescriptor) -> int:
        signed = one.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
        wide = one.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
        value = self._random.choice(BITS_64 if wide else BITS_32) if self._bad() else self._random.randint(0, 3)
        return value if signed else abs(value) % (2**64 if wide else 2**32)

    def _real(self, one: FieldDescriptor) -> float:
        value = self._random.choice(DOUBLES) if self._bad() else self._random.random()
        return value if one.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE else _as_float(value)

    def _bool(self, _one: FieldDescriptor) -> bool:
        return self.chance(0.5)

    def _set_time(self, message: Any) -> None:
        if self._bad():
            message.seconds, message.nanos = self._random.choice(SECONDS), self._random.choice(NANOS)
        else:
            message.seconds = self._random.choice([1, 60, 3600, 1_700_000_000])

    def _paths(self) -> list[str]:
        known = self._known.texts.get("paths", ["description", "tags", "inventory.scope", "lineage.code"])
        return [self._random.choice(TEXTS if self._bad() else known) for _ in range(self.count(2) + 1)]


_MAKERS: dict[int, Callable[[RequestFuzzer, FieldDescriptor], Any]] = {
    FieldDescriptor.CPPTYPE_STRING: RequestFuzzer._text,
    FieldDescriptor.CPPTYPE_INT32: RequestFuzzer._whole,
    FieldDescriptor.CPPTYPE_INT64: RequestFuzzer._whole,
    FieldDescriptor.CPPTYPE_UINT32: RequestFuzzer._whole,
    FieldDescriptor.CPPTYPE_UINT64: RequestFuzzer._whole,
    FieldDescriptor.CPPTYPE_DOUBLE: RequestFuzzer._real,
    FieldDescriptor.CPPTYPE_FLOAT: RequestFuzzer._real,
    FieldDescriptor.CPPTYPE_BOOL: RequestFuzzer._bool,
}


def _as_float(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return float("inf")


class RawCaller:
    """Makes any call of the contract with bytes."""

    def __init__(self, channel: grpc.Channel, timeout: float) -> None:
        self._channel = channel
        self._timeout = timeout

    def call(self, method: MethodDescriptor, requests: Sequence[bytes]) -> grpc.StatusCode:
        """Make a call and return its status. Streams that do not end are read until the timeout."""
        path = f"/{method.containing_service.full_name}/{method.name}"
        kinds = (method.client_streaming, method.server_streaming)
        make = {
            (False, False): self._channel.unary_unary,
            (False, True): self._channel.unary_stream,
            (True, False): self._channel.stream_unary,
            (True, True): self._channel.stream_stream,
        }[kinds]
        sent = iter(requests) if method.client_streaming else requests[0]
        try:
            answer = make(path)(sent, timeout=self._timeout)  # type: ignore[operator]
            for _ in answer if method.server_streaming else ():
                pass
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

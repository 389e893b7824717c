"""The descriptors that reflection shows: protobuf's default pool has all but those of the Open Inference Protocol."""

from typing import Any, cast

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from modelward_server.oip import open_inference_pb2

INFERENCE = open_inference_pb2.DESCRIPTOR


def served_descriptors() -> DescriptorPool:
    """Return what finds the descriptors of all services, as a pool does."""
    return cast(DescriptorPool, _ServedDescriptors())


class _ServedDescriptors:
    def __init__(self) -> None:
        self._default = descriptor_pool.Default()

    def FindFileByName(self, name: str) -> FileDescriptor:
        found: FileDescriptor = INFERENCE if name == INFERENCE.name else self._default.FindFileByName(name)
        return found

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:
        is_inference = symbol.startswith(f"{INFERENCE.package}.")
        pool = INFERENCE.pool if is_inference else self._default
        found: FileDescriptor = pool.FindFileContainingSymbol(symbol)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._default, name)

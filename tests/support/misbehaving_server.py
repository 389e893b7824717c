"""A server that answers what it should not, by hand or at random."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass

from modelward import ArtifactFile
from modelward.shared.convert.common import file_to_proto
from modelward.shared.manifest import manifest_digest
from modelward.v1 import lifecycle_pb2 as pb
from tests.support.fuzz_requests import methods

Answer = Callable[[Any, grpc.ServicerContext], Iterable[Any]]
"""Takes a request, or the stream of them, and gives what is answered: messages, or their bytes."""


class MisbehavingServer(grpc.GenericRpcHandler):
    """Answers each call by a function of the tests; `answers` has them by the name of the call.

    Attributes:
        asked: what came, by the name of the call.
        left: is set at the end, and lets answers that wait for it go.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, Any]] = []
        self.left = threading.Event()
        self._pool = ThreadPoolExecutor(16)
        self._server = grpc.server(self._pool, handlers=[self])
        self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def stop(self) -> None:
        self.left.set()
        self._server.stop(0).wait()
        self._pool.shutdown()

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        path: Any = details.method
        name = path.rpartition("/")[2]
        method, answer = METHODS[name], self.answers[name]

        def respond(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            self.asked.append((name, request))
            yield from answer(request, context)

        return HANDLERS[method.client_streaming, method.server_streaming](
            respond if method.server_streaming else lambda request, context: next(respond(request, context)),
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=lambda made: made if isinstance(made, bytes) else made.SerializeToString(),
        )

    def has(self, *files: ArtifactFile, digest: str | None = None, model: str = "m", **facts: Any) -> None:
        """Answer with a version of these files."""
        fits = manifest_digest(files) if digest is None else digest
        sent = map(file_to_proto, files)
        version = pb.ModelVersion(model=model, version=1, stage=3, files=sent, digest=fits, etag="e", **facts)  # type: ignore[arg-type]
        self.answers["GetModelVersion"] = lambda *_: [pb.GetModelVersionResponse(version=version)]
        self.answers["ResolveModel"] = lambda *_: [pb.ResolveModelResponse(version=version, sequence=1)]
        self.answers["WatchModels"] = lambda *_: self.silence()

    def sends(self, *chunks: bytes) -> None:
        """Answer downloads with these bytes; of what is there already nothing is sent."""
        self.answers["DownloadArtifact"] = lambda request, _: map(_part, () if request.offset else chunks)

    def silence(self) -> Iterator[Any]:
        """Say nothing until the end."""
        self.left.wait()
        yield from ()


def _part(chunk: bytes) -> pb.DownloadArtifactResponse:
    return pb.DownloadArtifactResponse(chunk=chunk)


METHODS = {method.name: method for method in methods()}
HANDLERS: dict[tuple[bool, bool], Any] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


@contextmanager
def misbehaving_server() -> Iterator[MisbehavingServer]:
    server = MisbehavingServer()
    try:
        yield server
    finally:
        server.stop()

"""The standard health service, which needs no credential."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from modelward_server.interceptors.client_id import client_of
from modelward_server.rpc.idempotency import Context
from modelward_server.runtime.admission import Admission

MAX_WATCHES, MAX_WATCHES_OF_CLIENT = 1_000, 100
"""Maximum number of open watches, and of those from one address."""
MESSAGES: Any = health_pb2
"""The type stubs of the health service's messages omit those of its method `List`."""


class HealthServicer(health_pb2_grpc.HealthServicer):
    """The standard health service.

    That of grpcio-health-checking sends to watchers under a lock that setting a state needs: one that does not read
    would end all health checks, and whoever has no credential may watch.
    """

    def __init__(self) -> None:
        self._states: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._stopping = False
        self._watches = Admission("watches of health", "health_watches", MAX_WATCHES, MAX_WATCHES_OF_CLIENT)

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> Any:
        if request.service not in self._states:
            await context.abort(grpc.StatusCode.NOT_FOUND, "the server has no service of this name")
        return self._response(request.service)

    async def List(self, request: object, context: Context) -> Any:
        answer = MESSAGES.HealthListResponse()
        for name in self._states:
            answer.statuses[name].CopyFrom(self._response(name))
        return answer

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        with self._watches.admit(client_of(context)):
            sent = None
            while True:
                changed, response = self._changed, self._response(request.service)
                if response != sent:
                    yield response
                sent = response
                await changed.wait()

    async def show(self, name: str, healthy: bool) -> None:
        """Set whether a service is healthy, unless the server stops."""
        answer = health_pb2.HealthCheckResponse
        if not self._stopping:
            self._set(name, answer.SERVING if healthy else answer.NOT_SERVING)

    def stop(self) -> None:
        """Show from now on that no service is healthy."""
        self._stopping = True
        for name in self._states:
            self._set(name, health_pb2.HealthCheckResponse.NOT_SERVING)

    def _set(self, name: str, state: int) -> None:
        if self._states.get(name) == state:
            return
        self._states[name] = state
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _response(self, name: str) -> Any:
        unknown = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        return MESSAGES.HealthCheckResponse(status=self._states.get(name, unknown))

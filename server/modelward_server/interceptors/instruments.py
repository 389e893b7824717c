"""How calls are measured: by what observes them from outside and can neither fail nor change them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter

import grpc
from grpc import aio

from modelward_server.interceptors.base import Call, Context, Interceptor
from modelward_server.runtime.best_effort import harmless

CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class Instrument(Interceptor):
    """Is told of each call when it begins, and of its status and seconds when it has ended, however that came."""

    @abstractmethod
    def begin(self, call: Call) -> Callable[[str, float], None]:
        """Begin to observe a call, and return what is to be told of its end."""

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        end = harmless(self.begin)(call)
        begun = perf_counter()
        status: Callable[[Context], str] = _given_up
        try:
            yield
            status = _status
        except aio.AbortError:
            status = _status
            raise
        except Exception:
            status = _failed
            raise
        finally:
            if end is not None:
                harmless(end)(status(call.context), perf_counter() - begun)


def _status(context: Context) -> str:
    """Name a status, which gRPC gives as itself, as its number, or as nothing when all is well."""
    code = context.code() or 0
    return code.name if isinstance(code, grpc.StatusCode) else CODES.get(code, "UNKNOWN")


def _failed(_context: Context) -> str:
    return grpc.StatusCode.INTERNAL.name


def _given_up(context: Context) -> str:
    """Name why a call was given up: its deadline passed, or the client or the server ended it."""
    return "DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED"

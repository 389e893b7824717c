"""Base class of interceptors that observe calls, such as metrics, traces and the access log, and cannot fail them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from time import perf_counter
from typing import Any

import grpc
from grpc import aio

from modelward_server.interceptors.base import Behavior, Call, Context, Interceptor
from modelward_server.runtime.best_effort import best_effort

CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class CallObserver(Interceptor):
    """Is notified when a call begins, and of its status and duration when it has ended in any way."""

    @abstractmethod
    def begin(self, call: Call) -> Callable[[str, float], None]:
        """Begin to observe a call, and return the callback that takes its status and duration in seconds at its end."""

    async def run(self, inner: Behavior, call: Call) -> Any:
        end = best_effort(self.begin)(call)
        begun = perf_counter()
        status: Callable[[Context], str] = _cancelled
        try:
            answer = await inner(call)
            status = _status
        except aio.AbortError:
            status = _status
            raise
        except Exception:
            status = _failed
            raise
        finally:
            if end is not None:
                best_effort(end)(status(call.context), perf_counter() - begun)
        return answer


def _status(context: Context) -> str:
    """Return the name of a status, which gRPC gives as an enum member, as its number, or as None for OK."""
    code = context.code() or 0
    return code.name if isinstance(code, grpc.StatusCode) else CODES.get(code, "UNKNOWN")


def _failed(_context: Context) -> str:
    return grpc.StatusCode.INTERNAL.name


def _cancelled(context: Context) -> str:
    """Return the status of a cancelled call: its deadline passed, or the client or the server ended it."""
    return "DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED"

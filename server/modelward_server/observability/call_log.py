"""A line in the log for each call that has ended, and an id that all lines of one call share."""

import logging
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter
from uuid import uuid4

import grpc
from grpc import aio

from modelward_server.observability import facts
from modelward_server.rpc.around import Around, Call, Context

log = logging.getLogger(__name__)

ACTOR_HEADER = "modelward-actor"
REQUEST_ID = "x-request-id"
"""The metadata that names a request: a client may send it, and every answer carries it."""
TAKEN = re.compile(r"[!-~]{1,128}")
"""What another's id may be, to be taken for the log."""
CODES = {code.value[0]: code.name for code in grpc.StatusCode}


class CallLog(Around):
    """Logs each call of our services when it has ended."""

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        sent = _metadata(call.context)
        peer = call.context.peer()
        actor = (sent.get(ACTOR_HEADER) or peer)[:256]  # As it says; who shows a credential is noted by that name.
        known = facts.begin(request_id=_request_id(call, sent), actor=actor, peer=peer)
        call.context.set_trailing_metadata(((REQUEST_ID, known["request_id"]),))
        with _logged(call, known):
            yield


@contextmanager
def _logged(call: Call, known: Mapping[str, str]) -> Iterator[None]:
    begun, status = perf_counter(), _given_up
    try:
        yield
        status = status_of
    except (aio.AbortError, Exception):
        status = status_of
        raise
    finally:
        seconds, named = round(perf_counter() - begun, 6), status(call.context)
        said = {**known, "method": call.method, "status": named, "seconds": seconds}
        log.info("%s %s in %.4f s", call.method, named, seconds, extra=said)


def status_of(context: Context) -> str:
    """Name a status, which gRPC gives as itself, as its number, or as nothing when all is well."""
    code = context.code() or 0
    return code.name if isinstance(code, grpc.StatusCode) else CODES.get(code, "UNKNOWN")


def _given_up(context: Context) -> str:
    """Name why a call was given up: its deadline passed, or the client or the server ended it."""
    return "DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED"


def _metadata(context: Context) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _request_id(call: Call, sent: dict[str, str]) -> str:
    """Return the request's own id, or what the client or a proxy calls it, or a new one."""
    for given in (getattr(call.request, "request_id", ""), sent.get(REQUEST_ID, "")):
        if TAKEN.fullmatch(given):
            return str(given)
    return str(uuid4())

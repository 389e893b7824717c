"""A line in the log for each call that has ended, and an id that all lines of one call share."""

import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from uuid import uuid4

from modelward._wire import ACTOR_HEADER
from modelward_server.observability import facts
from modelward_server.rpc.around import Around, Call, Context, timed

log = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
"""The metadata that names a request: a client may send it, and every answer carries it."""
TAKEN = re.compile(r"[!-~]{1,128}")
"""What another's id may be, to be taken for the log."""


class CallLog(Around):
    """Logs each call of our services when it has ended."""

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[None]:
        sent = _metadata(call.context)
        peer = call.context.peer()
        actor = (sent.get(ACTOR_HEADER) or peer)[:256]  # As it says; who shows a credential is noted by that name.
        known = facts.begin(request_id=_request_id(call, sent), actor=actor, peer=peer)
        call.context.set_trailing_metadata(((REQUEST_ID, known["request_id"]),))
        with timed(call.context, partial(_log, call, known), _given_up):
            yield


def _log(call: Call, known: Mapping[str, str], status: str, seconds: float) -> None:
    said = {**known, "method": call.method, "status": status, "seconds": round(seconds, 6)}
    log.info("%s %s in %.4f s", call.method, status, said["seconds"], extra=said)


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

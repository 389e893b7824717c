"""A line in the log for each call that has ended, and an id that all lines of one call share."""

import logging
import re
from collections.abc import Callable, Mapping
from functools import partial
from uuid import uuid4

from modelward.shared.retry import actor_in
from modelward_server.interceptors.base import Call, Context
from modelward_server.interceptors.instruments import Instrument
from modelward_server.observability import log_context
from modelward_server.runtime.best_effort import harmless

log = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
"""The metadata that names a request: a client may send it, and every answer carries it."""
TAKEN = re.compile(r"[!-~]{1,128}")
"""What another's id may be, to be taken for the log."""
UNAUTHENTICATED = "unauthenticated"
"""The actor of a call that showed no credential that is good."""


class CallLog(Instrument):
    """Logs each call of our services when it has ended.

    Args:
        asks_who_calls: whether callers prove who they are. What one says of itself is then no name for it.
    """

    def __init__(self, *, asks_who_calls: bool = False) -> None:
        self._asks_who_calls = asks_who_calls

    def begin(self, call: Call) -> Callable[[str, float], None]:
        sent = _metadata(call.context)
        peer = call.context.peer()
        actor = UNAUTHENTICATED if self._asks_who_calls else (actor_in(sent) or peer)[:256]
        given = sent.get(REQUEST_ID, "")
        request_id = given if isinstance(given, str) and TAKEN.fullmatch(given) else str(uuid4())
        known = log_context.begin(request_id=request_id, actor=actor, peer=peer)
        call.context.set_trailing_metadata(((REQUEST_ID, request_id),))
        return partial(_log, call, known)


@harmless
def name_call(call: Call) -> None:
    """Let a call that is logged go by the id of its request, which is known only when that was read."""
    given = getattr(call.request, "request_id", "")
    if given and log_context.current() and TAKEN.fullmatch(given):
        log_context.note(request_id=given)
        call.context.set_trailing_metadata(((REQUEST_ID, given),))


def _log(call: Call, known: Mapping[str, str], status: str, seconds: float) -> None:
    said = {**known, "method": call.method, "status": status, "seconds": round(seconds, 6)}
    log.info("%s %s in %.4f s", call.method, status, said["seconds"], extra=said)


def _metadata(context: Context) -> dict[str, str | bytes]:
    return dict(context.invocation_metadata() or ())

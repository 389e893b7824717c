"""Access log: one line for each call that has ended, and a request id that all log lines of a call share."""

import logging
import re
from collections.abc import Callable, Mapping
from functools import partial
from uuid import uuid4

from modelward.shared.retry import actor_in
from modelward_server.interceptors.base import Call, Context
from modelward_server.interceptors.call_observer import CallObserver
from modelward_server.observability import log_context
from modelward_server.runtime.best_effort import best_effort

log = logging.getLogger(__name__)

REQUEST_ID = "x-request-id"
"""Metadata key of the request id: a client may send one, and every response carries it."""
VALID_REQUEST_ID = re.compile(r"[!-~]{1,128}")
"""Format that a client's request id must have to be used in the log."""
UNAUTHENTICATED = "unauthenticated"
"""Actor of a call without a valid credential."""


class CallLog(CallObserver):
    """Logs each call of our services when it has ended.

    Args:
        requires_identity: whether clients prove their identity. The actor that a client states is not logged then.
    """

    def __init__(self, *, requires_identity: bool = False) -> None:
        self._requires_identity = requires_identity

    def begin(self, call: Call) -> Callable[[str, float], None]:
        metadata = _metadata(call.context)
        peer = call.context.peer()
        actor = UNAUTHENTICATED if self._requires_identity else (actor_in(metadata) or peer)[:256]
        given = metadata.get(REQUEST_ID, "")
        request_id = given if isinstance(given, str) and VALID_REQUEST_ID.fullmatch(given) else str(uuid4())
        fields = log_context.begin(request_id=request_id, actor=actor, peer=peer)
        call.context.set_trailing_metadata(((REQUEST_ID, request_id),))
        return partial(_log, call, fields)


@best_effort
def adopt_request_id(call: Call) -> None:
    """Use the request id of the request's message for a call that is logged; known once the message was read."""
    given = getattr(call.request, "request_id", "")
    if given and log_context.current() and VALID_REQUEST_ID.fullmatch(given):
        log_context.note(request_id=given)
        call.context.set_trailing_metadata(((REQUEST_ID, given),))


def _log(call: Call, fields: Mapping[str, str], status: str, seconds: float) -> None:
    extra = {**fields, "method": call.method, "status": status, "seconds": round(seconds, 6)}
    log.info("%s %s in %.4f s", call.method, status, extra["seconds"], extra=extra)


def _metadata(context: Context) -> dict[str, str | bytes]:
    return dict(context.invocation_metadata() or ())

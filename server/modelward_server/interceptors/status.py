"""Errors as the `google.rpc.Status` that clients in every language know to read."""

from urllib.parse import quote

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status

from modelward.errors import DOMAIN, GatesFailed, InvalidField, LimitReached, ModelwardError
from modelward_server.observability.redaction import redact

TRAILER_LIMIT = 7_000
"""Bytes that an error may have on the wire: clients take 8 KiB of trailers, and see RESOURCE_EXHAUSTED beyond."""
LONGEST_TEXTS = (TRAILER_LIMIT, 1_000, 200)
"""Characters that are left of each text, tried one after the other until the error is small enough."""
LONGEST_SECRET = 4_000
"""Characters behind a text's cut that are looked at, so that a secret is known for one that the cut goes through."""
FEWEST_DETAILS = (20, 5, 1)
"""How many fields or gates are told of then."""


def encode(error: ModelwardError) -> Status:
    """Return the error with all that it says, or as much of it as clients take."""
    for longest in LONGEST_TEXTS:
        for most in FEWEST_DETAILS:
            status = _encode(error, longest, most)
            if _size(status) <= TRAILER_LIMIT:
                return status
    return status


def _encode(error: ModelwardError, longest: int, most: int) -> Status:
    def cut(text: str) -> str:
        text = (
            redact(text[: longest + LONGEST_SECRET]).encode(errors="replace").decode()
        )  # A name of a file may hold what no message can.
        return text if len(text) <= longest else f"{text[:longest]}..."

    facts = {key: cut(value) for key, value in error.metadata.items()}
    details: list[Message] = [ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=facts)]
    if isinstance(error, InvalidField):
        fields = [(cut(one.field), cut(one.description)) for one in error.violations[:most]]
        violations = [BadRequest.FieldViolation(field=field, description=fix) for field, fix in fields]
        details.append(BadRequest(field_violations=violations))
    if isinstance(error, GatesFailed):
        failed = [PreconditionFailure.Violation(type=g.gate, description=cut(g.evidence)) for g in error.gates[:most]]
        details.append(PreconditionFailure(violations=failed))
    if isinstance(error, LimitReached) and error.retry_seconds is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_seconds * 1e9))
        details.append(RetryInfo(retry_delay=delay))
    status = Status(code=error.status.value[0], message=cut(error.message))
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _size(status: Status) -> int:
    """Return the bytes of the trailers: the message escaped, and all of it in base 64."""
    escaped: str = quote(status.message)
    return len(escaped) + int(status.ByteSize()) * 4 // 3

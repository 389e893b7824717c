"""Encoding of errors as `google.rpc.Status`, which gRPC clients in every language can read."""

from urllib.parse import quote

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure, RetryInfo
from google.rpc.status_pb2 import Status

from modelward.errors import DOMAIN, GatesFailed, InvalidField, LimitReached, ModelwardError
from modelward_server.observability.redaction import redact

TRAILER_LIMIT = 7_000
"""Maximum bytes of an encoded error: clients accept 8 KiB of trailers, and report RESOURCE_EXHAUSTED beyond."""
TEXT_LIMITS = (TRAILER_LIMIT, 1_000, 200)
"""Maximum characters of each text, tried in turn until the error is small enough."""
MAX_SECRET_LENGTH = 4_000
"""Characters examined beyond a text's cut, so that a secret that the cut goes through is recognised as one."""
DETAIL_LIMITS = (20, 5, 1)
"""Maximum number of fields or gates that are reported, tried in turn."""


def encode(error: ModelwardError) -> Status:
    """Return the error with all its details, or with as many of them as clients accept."""
    for max_length in TEXT_LIMITS:
        for max_details in DETAIL_LIMITS:
            status = _encode(error, max_length, max_details)
            if _size(status) <= TRAILER_LIMIT:
                return status
    return status


def _encode(error: ModelwardError, max_length: int, max_details: int) -> Status:
    def cut(text: str) -> str:
        # Lone surrogates, as a file's name may contain them, cannot be put into a message.
        text = redact(text[: max_length + MAX_SECRET_LENGTH]).encode(errors="replace").decode()
        return text if len(text) <= max_length else f"{text[:max_length]}..."

    metadata = {key: cut(value) for key, value in error.metadata.items()}
    details: list[Message] = [ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)]
    if isinstance(error, InvalidField):
        fields = [(cut(one.field), cut(one.description)) for one in error.violations[:max_details]]
        violations = [BadRequest.FieldViolation(field=field, description=fix) for field, fix in fields]
        details.append(BadRequest(field_violations=violations))
    if isinstance(error, GatesFailed):
        gates = error.gates[:max_details]
        failed = [PreconditionFailure.Violation(type=gate.gate, description=cut(gate.evidence)) for gate in gates]
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
    """Return the size of the trailers in bytes: the message percent-encoded, and the whole status in base64."""
    escaped: str = quote(status.message)
    return len(escaped) + int(status.ByteSize()) * 4 // 3

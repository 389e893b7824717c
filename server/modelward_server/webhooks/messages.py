"""What a webhook says, and how it is signed: by the rules of Standard Webhooks 1.0.0.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from modelward_server.storage.audit import Kind
from modelward_server.storage.tables import AuditRow

TOLD = {
    Kind.DRIFT_ALARM: "alarm.drift",
    Kind.PERFORMANCE_ALARM: "alarm.performance",
    Kind.JOB: "job",
    Kind.TRANSITION: "transition",
}
"""The records that are told, and the `type` that each is told as."""


HEAD_TOLD = "audit.head"
HEAD_EACH = 100
"""Every so many records the head of the log is told, and at each day's first one."""


def is_told(row: AuditRow, previous: datetime | None) -> bool:
    """Tell whether a record is told.

    Args:
        previous: when the record before was made; None where there is none.
    """
    new_day = previous is not None and row.happened_at.date() != previous.date()
    return row.kind in TOLD or row.sequence % HEAD_EACH == 0 or new_day


@dataclass(frozen=True)
class Message:
    """One call of a webhook; a repeat has the same id."""

    message_id: str
    body: bytes


def message_of(row: AuditRow) -> Message:
    """Return what a record of the audit log is told as: one that is not told otherwise, as the log's head then."""
    told, place = TOLD.get(Kind(row.kind)), {"sequence": row.sequence, "hash": row.hash}
    about = {"model": row.model, "version": row.version, "actor": row.actor, row.kind: json.loads(row.payload)}
    said = {
        "type": told or HEAD_TOLD,
        "timestamp": row.happened_at.isoformat(),
        "data": place | about if told else place,
    }
    return Message(f"modelward_{row.sequence}", json.dumps(said, ensure_ascii=False).encode())


def headers(message: Message, secret: bytes, at: datetime) -> Mapping[str, str]:
    """Return the headers that name the message and, with a secret, sign it."""
    seconds = str(int(at.timestamp()))
    told = {"content-type": "application/json", "webhook-id": message.message_id, "webhook-timestamp": seconds}
    return told | ({"webhook-signature": _signature(message, secret, seconds)} if secret else {})


def _signature(message: Message, secret: bytes, seconds: str) -> str:
    signed = f"{message.message_id}.{seconds}.".encode() + message.body
    return f"v1,{base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()}"

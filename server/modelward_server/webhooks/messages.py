"""Messages of webhooks and their signatures, by Standard Webhooks 1.0.0.

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

TYPES = {
    Kind.DRIFT_ALARM: "alarm.drift",
    Kind.PERFORMANCE_ALARM: "alarm.performance",
    Kind.APPROVAL: "approval",
    Kind.FINDING: "finding",
    Kind.REVIEW: "review",
    Kind.DRILL: "drill",
    Kind.JOB: "job",
    Kind.TRANSITION: "transition",
}
"""The kinds of records that are delivered, and the `type` of their messages."""


HEAD_TYPE = "audit.head"
HEAD_INTERVAL = 100
"""The head of the log is delivered once in this many records, and with the first record of each day."""


def is_delivered(row: AuditRow, previous: datetime | None) -> bool:
    """Return whether a record is delivered.

    Args:
        previous: the time of the preceding record; None where there is none.
    """
    new_day = previous is not None and row.happened_at.date() != previous.date()
    return row.kind in TYPES or row.sequence % HEAD_INTERVAL == 0 or new_day


@dataclass(frozen=True)
class Message:
    """One request to a webhook; a retry has the same id."""

    message_id: str
    body: bytes


def message_of(row: AuditRow, proof: Mapping[str, object] | None = None) -> Message:
    """Return the message of an audit record; a kind without a type of its own is delivered as the log's head.

    Args:
        row: the record.
        proof: what a message of the head says besides, such as its root.
    """
    message_type, head = TYPES.get(Kind(row.kind)), {"sequence": row.sequence, "hash": row.hash}
    about = {"model": row.model, "version": row.version, "actor": row.actor, row.kind: json.loads(row.payload)}
    body = {
        "type": message_type or HEAD_TYPE,
        "timestamp": row.happened_at.isoformat(),
        "data": head | about if message_type else head | dict(proof or {}),
    }
    return Message(f"modelward_{row.sequence}", json.dumps(body, ensure_ascii=False).encode())


def headers(message: Message, secret: bytes, at: datetime) -> Mapping[str, str]:
    """Return the headers that identify the message and, with a secret, sign it."""
    seconds = str(int(at.timestamp()))
    unsigned = {"content-type": "application/json", "webhook-id": message.message_id, "webhook-timestamp": seconds}
    return unsigned | ({"webhook-signature": _signature(message, secret, seconds)} if secret else {})


def _signature(message: Message, secret: bytes, seconds: str) -> str:
    signed = f"{message.message_id}.{seconds}.".encode() + message.body
    return f"v1,{base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()}"

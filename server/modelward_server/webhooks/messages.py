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

from modelward_server.store.audit import Kind
from modelward_server.store.tables import AuditRow

TOLD = {
    Kind.DRIFT_ALARM: "alarm.drift",
    Kind.PERFORMANCE_ALARM: "alarm.performance",
    Kind.JOB: "job",
    Kind.TRANSITION: "transition",
}
"""The records that are told, and the `type` that each is told as."""


@dataclass(frozen=True)
class Message:
    """One call of a webhook; a repeat has the same id."""

    message_id: str
    body: bytes


def message_of(row: AuditRow) -> Message:
    """Return what a record of the audit log is told as."""
    said = {
        "type": TOLD[Kind(row.kind)],
        "timestamp": row.happened_at.isoformat(),
        "data": {
            "sequence": row.sequence,
            "model": row.model,
            "version": row.version,
            "actor": row.actor,
            row.kind: json.loads(row.payload),
        },
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

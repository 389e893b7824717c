"""The hash of an audit record, by which each one names its predecessor."""

import hashlib
import json
from datetime import UTC
from typing import Any

from modelward.lifecycle import AuditRecord


def record_hash(record: AuditRecord | Any) -> str:
    """Return the SHA-256 over the previous hash and every field of a record, serialized as canonical JSON.

    Args:
        record: the record, or a row with the same fields.

    Returns:
        64 hexadecimal digits.
    """
    fields = [
        record.previous_hash,
        record.sequence,
        record.happened_at.astimezone(UTC).isoformat(timespec="microseconds"),
        record.actor,
        record.kind,
        record.model,
        record.version,
        record.payload,
    ]
    return hashlib.sha256(canonical(fields).encode()).hexdigest()


def canonical(value: Any) -> str:
    """Return a value as JSON in which equal values are written alike.

    Args:
        value: a JSON value.

    Returns:
        Its text, with sorted keys and without spaces.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

"""Delivery positions of webhooks in the ledger: a restart loses no event, and two servers do not deliver the same one.

Records are delivered in order, at least once: a server that dies between a response and storing the new position causes
a repeated delivery, with the same id.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from sqlalchemy import or_, update
from sqlalchemy.orm import Session

from modelward_server.runtime.background import note_failure
from modelward_server.runtime.retries import log_once
from modelward_server.storage.audit import last_sequence, read_after
from modelward_server.storage.insert_new import insert_new
from modelward_server.storage.retraining_tables import WebhookRow
from modelward_server.storage.tables import AuditRow
from modelward_server.webhooks.messages import TYPES, Message, is_delivered, message_of

CLAIM = timedelta(seconds=30)
"""How long a server claims the delivery exclusively; longer than one message takes."""
BATCH = 500

Prove = Callable[[Session, int], Mapping[str, object]]
"""Returns the root of the log over its first records, signed where there is a key."""


def add(session: Session, url: str) -> None:
    """Start delivery with the events from now on, unless the webhook is known."""
    insert_new(session, WebhookRow, [{"url": url, "sequence": last_sequence(session)}])


def is_known(session: Session, url: str) -> bool:
    return session.get(WebhookRow, url) is not None


def has_more(session: Session, url: str) -> bool:
    """Return whether there are records after the delivered ones."""
    row = session.get(WebhookRow, url)
    return row is not None and row.sequence < last_sequence(session)


def claim(session: Session, url: str, now: datetime) -> bool:
    """Claim the delivery; False while another server has claimed it."""
    free = or_(WebhookRow.claimed_until.is_(None), WebhookRow.claimed_until <= now)
    statement = update(WebhookRow).where(WebhookRow.url == url, free).values(claimed_until=now + CLAIM)
    return bool(session.connection().execute(statement).rowcount)


def next_message(session: Session, url: str, prove: Prove) -> tuple[Message | None, int]:
    """Return the next message and its record's number; without a message, the number of the last examined record.

    A record that cannot be converted into a message will not be convertible later either: it is skipped, so that it
    does not block the following ones.

    Args:
        session: the transaction.
        url: where it is delivered.
        prove: returns what a message of the log's head says besides.
    """
    last = session.get_one(WebhookRow, url).sequence
    before = session.get(AuditRow, last)
    for record in read_after(session, last, BATCH):
        last = record.sequence
        if is_delivered(record, before.happened_at if before else None) and (
            message := _message(session, record, prove)
        ):
            return message, last
        before = record
    return None, last


def _message(session: Session, record: AuditRow, prove: Prove) -> Message | None:
    try:
        return message_of(record) if record.kind in TYPES else message_of(record, prove(session, record.sequence))
    except Exception as error:
        note_failure(error)
        log_once("creating the webhook message of the record", record.sequence, error)
        return None


def note(session: Session, url: str, sequence: int) -> None:
    """Store the delivery position, and release the claim."""
    row = session.get_one(WebhookRow, url)
    row.sequence, row.claimed_until = max(row.sequence, sequence), None

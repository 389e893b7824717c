"""How far each webhook is stands in the ledger: a restart loses nothing, and two servers do not say the same twice.

Records are delivered in their order, at least once: a server that dies between an answer and its note of it says that
one again, with the same id.
"""

from datetime import datetime, timedelta

from sqlalchemy import or_, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from modelward_server.runtime.background import note_failure
from modelward_server.runtime.retries import log_once
from modelward_server.storage.audit import last_sequence, read_after
from modelward_server.storage.retraining_tables import WebhookRow
from modelward_server.storage.tables import AuditRow
from modelward_server.webhooks.messages import Message, is_told, message_of

CLAIM = timedelta(seconds=30)
"""How long a server keeps others from delivering; longer than one message takes."""
BATCH = 500


def add(session: Session, url: str) -> None:
    """Begin with what happens from now on, unless the webhook is known."""
    insert = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgres_insert
    values = {"url": url, "sequence": last_sequence(session)}
    session.execute(insert(WebhookRow).values(values).on_conflict_do_nothing())


def is_known(session: Session, url: str) -> bool:
    return session.get(WebhookRow, url) is not None


def has_more(session: Session, url: str) -> bool:
    """Tell whether there are records behind what was delivered."""
    row = session.get(WebhookRow, url)
    return row is not None and row.sequence < last_sequence(session)


def claim(session: Session, url: str, now: datetime) -> bool:
    """Take the delivery in hand; False while another server has it."""
    free = or_(WebhookRow.claimed_until.is_(None), WebhookRow.claimed_until <= now)
    taken = update(WebhookRow).where(WebhookRow.url == url, free).values(claimed_until=now + CLAIM)
    return bool(session.connection().execute(taken).rowcount)


def next_message(session: Session, url: str) -> tuple[Message | None, int]:
    """Return the next record to tell, and its number; without one, the number of the last that was looked at.

    A record that cannot be put into a message will not be able to later: it is passed over, so that it holds up none
    of those behind it.
    """
    last = session.get_one(WebhookRow, url).sequence
    before = session.get(AuditRow, last)
    for record in read_after(session, last, BATCH):
        last = record.sequence
        if is_told(record, before.happened_at if before else None) and (message := _message(record)):
            return message, last
        before = record
    return None, last


def _message(record: AuditRow) -> Message | None:
    try:
        return message_of(record)
    except Exception as error:
        note_failure(error)
        log_once("telling webhooks of the record", record.sequence, error)
        return None


def note(session: Session, url: str, sequence: int) -> None:
    """Note how far the delivery is, and leave it to whoever is next."""
    row = session.get_one(WebhookRow, url)
    row.sequence, row.claimed_until = max(row.sequence, sequence), None

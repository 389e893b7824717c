"""Transactions on the ledger for an administrator on the server's machine."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from modelward.shared.login import login_name
from modelward_server.actor_context import ActorContext
from modelward_server.settings import Settings
from modelward_server.storage import audit
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.private_files import make_private_folder


@contextmanager
def admin_session(settings: Settings) -> Iterator[tuple[Session, ActorContext]]:
    """Open a transaction, also before a server was ever started, and yield it with the actor of its changes."""
    make_private_folder(settings.data_dir)
    ledger = Ledger(settings.ledger_url)
    try:
        ledger.migrate()
        with ledger.writing() as session:
            yield session, audit.begin_change(session, login_name())
    finally:
        ledger.close()

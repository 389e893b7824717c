"""The task, in every server, that calls the webhooks."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from modelward.errors import ModelwardError
from modelward_server.store.ledger import Ledger
from modelward_server.webhooks import delivery
from modelward_server.webhooks.messages import Message, headers
from modelward_server.webhooks.secrets import secret_bytes
from modelward_server.webhooks.sending import DeliveryError, Sender

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0


@dataclass(frozen=True)
class Webhooks:
    """Tells every URL what happened, in its order.

    Args:
        secret: signs the messages; empty for none.
        allow_private: whether addresses of the own machine and network may be called.
    """

    ledger: Ledger
    urls: Sequence[str]
    secret: str
    allow_private: bool

    async def run(self) -> None:
        """Work until cancelled."""
        await asyncio.gather(*map(self._serve, self.urls))

    async def _serve(self, url: str) -> None:
        """Tell one URL everything; while it is away, try again and again, and less and less often."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await asyncio.to_thread(self._begin, url)
                while await asyncio.to_thread(self.deliver_next, url):
                    pause = FIRST_PAUSE_SECONDS
                await asyncio.sleep(POLL_SECONDS)
            except (DeliveryError, ModelwardError) as error:
                log.warning("a webhook waits for %.0f s: %s", pause, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _begin(self, url: str) -> None:
        with self.ledger.reading() as session:
            if delivery.is_known(session, url):
                return
        with self.ledger.writing() as session:
            delivery.add(session, url)

    def deliver_next(self, url: str) -> bool:
        """Tell the next thing; return whether there may be more.

        Raises:
            DeliveryError: it was not taken.
            StoreUnavailable: the ledger does not answer.
        """
        with self.ledger.reading() as session:
            if not delivery.has_more(session, url):
                return False
        with self.ledger.writing() as session:
            if not delivery.claim(session, url, datetime.now(UTC)):
                return False
            message, sequence = delivery.next_message(session, url)
        told = 0
        try:
            if message is not None:
                self._post(url, message)
            told = sequence
        finally:
            with self.ledger.writing() as session:
                delivery.note(session, url, told)
        return True

    def _post(self, url: str, message: Message) -> None:
        told = headers(message, secret_bytes(self.secret), datetime.now(UTC))
        Sender(self.allow_private).post(url, message.body, told)

"""The background tasks, in every server, that deliver webhooks."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from modelward.errors import ModelwardError
from modelward_server.runtime.background import Background, in_own_thread, progressed, stalled
from modelward_server.storage.ledger import Ledger
from modelward_server.webhooks import delivery
from modelward_server.webhooks.messages import Message, headers
from modelward_server.webhooks.secrets import secret_bytes
from modelward_server.webhooks.sending import DeliveryError, Sender

POLL_SECONDS = 1.0
FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 300.0


@dataclass(frozen=True)
class Webhooks:
    """Delivers events to every URL, in order.

    Args:
        secret: signs the messages; empty for none.
        allow_private: whether addresses of this machine and of private networks may be called.
        prove: returns what messages of the log's head say besides.
    """

    ledger: Ledger
    urls: Sequence[str]
    secret: str
    allow_private: bool
    prove: delivery.Prove

    def begin(self, background: Background) -> None:
        """Start a task for each URL, named after its position in the settings, since the URL may contain a secret."""
        for number, url in enumerate(self.urls, 1):
            background.start(f"webhook-{number}", partial(self._serve, url))

    async def _serve(self, url: str) -> None:
        """Deliver all events to one URL; while it is unavailable, retry with increasing pauses."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await in_own_thread(self._begin, url)
                while await self._deliver_next(url):
                    pause = FIRST_PAUSE_SECONDS
                    await progressed()
                await progressed()
                await asyncio.sleep(POLL_SECONDS)
            except (DeliveryError, ModelwardError, SQLAlchemyError) as error:
                await stalled(error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, MAX_PAUSE_SECONDS)

    def _begin(self, url: str) -> None:
        with self.ledger.reading() as session:
            if delivery.is_known(session, url):
                return
        with self.ledger.writing() as session:
            delivery.add(session, url)

    async def _deliver_next(self, url: str) -> bool:
        """Deliver the next message; return whether there may be more.

        Raises:
            DeliveryError: it was not accepted.
            StoreUnavailable: the ledger does not answer.
        """
        if not await in_own_thread(self._claim, url):
            return False
        delivered = 0
        try:
            message, sequence = await in_own_thread(self._next, url)
            if message is not None:
                await self._post(url, message)
            delivered = sequence
        finally:  # Also when the server stops: another need not wait until the claim expires.
            await in_own_thread(self._note, url, delivered)
        return True

    def _claim(self, url: str) -> bool:
        """Claim the delivery; False when there is nothing to deliver, or another server has claimed it."""
        with self.ledger.reading() as session:
            if not delivery.has_more(session, url):
                return False
        with self.ledger.writing() as session:
            return delivery.claim(session, url, datetime.now(UTC))

    def _next(self, url: str) -> tuple[Message | None, int]:
        with self.ledger.reading() as session:
            return delivery.next_message(session, url, self.prove)

    def _note(self, url: str, delivered: int) -> None:
        with self.ledger.writing() as session:
            delivery.note(session, url, delivered)

    async def _post(self, url: str, message: Message) -> None:
        signed = headers(message, secret_bytes(self.secret), datetime.now(UTC))
        await Sender(self.allow_private).post(url, message.body, signed)

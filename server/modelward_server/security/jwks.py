"""The published keys of an identity provider (JWKS), refreshed as they change."""

import asyncio
import json
import logging
import time
from math import inf
from pathlib import Path
from urllib.parse import urlsplit

import jwt

from modelward.errors import StoreUnavailable
from modelward_server.runtime.background import in_own_thread
from modelward_server.settings import check_keys_place

log = logging.getLogger(__name__)

FRESH_SECONDS = 300.0
"""Age at which keys are read again."""
KEPT_SECONDS = 3600.0
"""Maximum age of keys that cannot be read again: a restart of the provider locks nobody out."""
MIN_INTERVAL_SECONDS = 10.0
"""Minimum time between two reads, whatever key ids unauthenticated tokens name."""
TIMEOUT_SECONDS = 5.0
"""For so long a call waits for the keys to be read; a read that takes longer goes on, and no other begins meanwhile."""


class PublishedKeys:
    """A JWK set.

    Args:
        place: a file, or an https URL; http on this machine only.

    Raises:
        ValueError: the URL is one whose answer others could change.
    """

    def __init__(self, place: str) -> None:
        self._place = check_keys_place(place)
        self._remote = urlsplit(place).scheme in {"http", "https"}
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = self._tried_at = -inf
        self._reading = asyncio.Lock()
        self._attempt: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> jwt.PyJWK:
        """Return the key with an id; an empty id means the key without one.

        Raises:
            InvalidKeyError: it is not published.
            StoreUnavailable: the published keys cannot be read.
        """
        if key_id not in self._keys or self._is_due():
            await self._read_again()
        now = time.monotonic()
        if key_id in self._keys and now - self._read_at < KEPT_SECONDS:
            return self._keys[key_id]
        if self._tried_at > self._read_at:
            raise StoreUnavailable("the identity provider's keys cannot be read now; retry", store="identity provider")
        raise jwt.InvalidKeyError("it was signed with a key that the identity provider does not publish")

    def _is_due(self) -> bool:
        now = time.monotonic()
        return now - self._read_at >= FRESH_SECONDS and now - self._tried_at >= MIN_INTERVAL_SECONDS

    async def _read_again(self) -> None:
        """Read the keys unless that was just attempted; calls with a known key do not wait for it."""
        async with self._reading:
            if time.monotonic() - self._tried_at >= MIN_INTERVAL_SECONDS:
                self._tried_at = time.monotonic()
                if self._attempt is None or self._attempt.done():
                    self._attempt = asyncio.create_task(in_own_thread(self._read))
                await asyncio.wait({self._attempt}, timeout=TIMEOUT_SECONDS)

    def _read(self) -> None:
        started = self._tried_at
        try:
            published = self._fetch() if self._remote else self._load()
            keys = {str(key.key_id or ""): key for key in published.keys if key.public_key_use in {None, "sig"}}
        except Exception as error:  # The content is not ours: known keys stay in use for a while.
            log.warning("the identity provider's keys could not be read: %s: %.200s", type(error).__name__, error)
            return
        self._keys, self._read_at = keys, started

    def _fetch(self) -> jwt.PyJWKSet:
        return jwt.PyJWKClient(self._place, cache_jwk_set=False, timeout=TIMEOUT_SECONDS).get_jwk_set()

    def _load(self) -> jwt.PyJWKSet:
        content = json.loads(Path(self._place).read_text())
        return jwt.PyJWKSet.from_dict(content if isinstance(content, dict) else {})

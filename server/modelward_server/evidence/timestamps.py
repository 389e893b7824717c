"""Time stamps (RFC 3161) for evidence, by the authority that the operator names."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from http.client import HTTPException, HTTPMessage
from threading import BoundedSemaphore, Thread
from typing import IO, TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from modelward.errors import StoreUnavailable
from modelward.evidence.timestamp import TimestampError, read_timestamp
from modelward_server.settings import SettingError

if TYPE_CHECKING:
    from rfc3161_client import TimeStampRequest

log = logging.getLogger(__name__)

SECONDS = 10.0
"""Timeout of one request, from the resolution of the authority's name to the end of its answer."""
ATTEMPTS = 3
PAUSE_SECONDS = 1.0
"""Pause between two of them."""
MAX_BYTES = 1 << 20
"""Maximum size of an answer; those of public authorities have some kilobytes."""
MAX_REQUESTS = 16
"""Requests at the same time, with those that were given up and that the authority has not let end yet."""


class TimestampAuthority:
    """Asks an authority for time stamps.

    Args:
        url: its http(s) URL.

    Raises:
        SettingError: the extra `signing` is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import rfc3161_client  # noqa: F401 - imported where it is used
        except ModuleNotFoundError as error:
            reason = f"time stamps need {error.name}: pip install 'modelward[signing]'"
            raise SettingError("timestamp_url", reason) from None
        self._url = url
        self._requests = BoundedSemaphore(MAX_REQUESTS)

    def stamp(self, content: bytes) -> bytes:
        """Return a time stamp over some content, as the authority's answer (TimeStampResp in DER).

        Whether the authority can be trusted is for those to decide who verify the stamp.

        Raises:
            StoreUnavailable: no attempt brought a time stamp over this content.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt(content)
            except TimeoutError:
                reason = f"nothing arrived within {SECONDS:g} s"
            except (OSError, HTTPException, TimestampError) as error:
                reason = str(error)
            log.warning("time stamp, attempt %d of %d: %s", attempt, ATTEMPTS, reason)
            time.sleep(PAUSE_SECONDS if attempt < ATTEMPTS else 0)
        message = (
            f"the time-stamp authority (setting timestamp_url) gave no time stamp: {reason}; retry, or start the "
            "server without the setting to export evidence without time stamps"
        )
        raise StoreUnavailable(message, store="time-stamp authority")

    def _attempt(self, content: bytes) -> bytes:
        from rfc3161_client import HashAlgorithm, TimestampRequestBuilder, decode_timestamp_response

        query = TimestampRequestBuilder().data(content).hash_algorithm(HashAlgorithm.SHA256).build()
        answer = self._within(SECONDS, partial(self._post, query))
        read_timestamp(answer, content)
        if decode_timestamp_response(answer).tst_info.nonce != query.nonce:
            raise TimestampError("is an answer to another request")
        return answer

    def _post(self, query: "TimeStampRequest") -> bytes:
        headers = {"Content-Type": "application/timestamp-query"}
        request = Request(self._url, query.as_bytes(), headers)  # noqa: S310 - the operator's own URL, http or https
        until = time.monotonic() + SECONDS
        try:
            with build_opener(_NoRedirects).open(request, timeout=SECONDS) as response:
                answer = b""
                while (part := response.read1(MAX_BYTES - len(answer))) and time.monotonic() < until:
                    answer += part
        except HTTPError as error:
            error.close()
            raise
        return answer

    def _within(self, seconds: float, work: Callable[[], bytes]) -> bytes:
        """Return what some work returns; when it takes longer, the thread is left to its own timeouts.

        Raises:
            TimeoutError: it takes longer. Exceptions of the work propagate.
            OSError: too many earlier threads have not ended.
        """
        future: Future[bytes] = Future()
        if not self._requests.acquire(blocking=False):
            raise OSError(f"{MAX_REQUESTS} requests to it have not ended")

        def run() -> None:
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
            finally:
                self._requests.release()

        Thread(target=run, name="modelward time stamp", daemon=True).start()
        return future.result(seconds)


class _NoRedirects(HTTPRedirectHandler):
    """Refuses redirects: only the operator says whom the server calls."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None

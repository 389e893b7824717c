"""Request ids: UUIDs of version 7, which contain their creation time."""

import os
import time
from uuid import UUID


def new_request_id() -> str:
    """Return a new id (RFC 9562, section 5.7): 48 bits of milliseconds since 1970, and 74 random bits.

    A server eventually discards the stored answers of old requests. It recognizes an old id by its time, and refuses
    to run the request again.
    """
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    version, variant = 7 << 76, 0b10 << 62
    return str(UUID(int=milliseconds << 80 | version | (random >> 62 & 0xFFF) << 64 | variant | random & (1 << 62) - 1))

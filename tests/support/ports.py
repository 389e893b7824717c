"""Free ports for programs that have to be told theirs."""

import random
import socket
from pathlib import Path

FIRST = 12_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""From this range the system gives ports to every other server and connection."""


def free_port() -> int:
    """Return a port that is free now, and that the system gives to nobody before the program listens on it."""
    end = int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else 32_768
    while True:
        port = random.SystemRandom().randrange(FIRST, end)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port

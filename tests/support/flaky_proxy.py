"""A way to a server that can lose answers and break, at an address that outlives the server."""

import socket
import threading
import time
from contextlib import suppress


class FlakyProxy:
    """Carries bytes between clients and the server that `target` names at the time when they connect."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.losing_answers = False
        self.silent = False
        """Whether nothing arrives any more though no connection ends, as when a machine has vanished."""
        self.pause = 0.0
        """Seconds after each 64 KiB on the way to the server."""
        self.carried = 0
        """Bytes so far, in both directions."""
        self.breaks_at: list[int] = []
        """When so many bytes have been carried, every connection breaks; in ascending order."""
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more connections; those that are open end with their client or server."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def break_off(self) -> None:
        """Break every connection; to those that are made from now on nobody answers."""
        self.target = "127.0.0.1:1"
        for connection in list(self._open):
            _end(connection)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=[client], daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        host, port = self.target.split(":")
        with client, suppress(OSError), socket.create_connection((host, int(port))) as server:
            self._open |= {client, server}
            there = threading.Thread(target=self._pump, args=[client, server], daemon=True)
            there.start()
            self._pump_back(server, client)
            there.join()
            self._open -= {client, server}

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(65536):
                if not self.silent:
                    server.sendall(data)
                self._count(data)
                time.sleep(self.pause)
        _end(server)

    def _pump_back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if not (self.losing_answers or self.silent):
                    client.sendall(data)
                self._count(data)
        _end(client)

    def _count(self, data: bytes) -> None:
        self.carried += len(data)
        if self.breaks_at and self.carried >= self.breaks_at[0]:
            self.breaks_at.pop(0)
            self.break_all()

    def break_all(self) -> None:
        """End every connection that is open."""
        for connection in list(self._open):
            _end(connection)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)

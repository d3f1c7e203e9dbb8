"""A relay of TCP connections that counts the bytes, and can hold them back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_CHUNK = 1 << 16


class Proxy:
    """Relays to a server; ``sent`` went there and ``received`` came back.

    Once ``hold_at`` bytes were sent, nothing more is relayed and ``held`` is set.
    """

    def __init__(self, endpoint: str, hold_at: int | None = None) -> None:
        to = urlsplit(endpoint)
        self._to = (to.hostname, to.port)
        self._hold_at = hold_at
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listening]
        self._lock = threading.Lock()
        self.sent = self.received = 0
        self.held = threading.Event()

    @property
    def endpoint(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def clear(self) -> None:
        """Count from zero again."""
        with self._lock:
            self.sent = self.received = 0

    def accept(self) -> None:
        """Relay connections until it is closed."""
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._to)
                self._open += [client, server]
                for one, other, there in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._relay, args=(one, other, there)).start()

    def _relay(self, one: socket.socket, other: socket.socket, there: bool) -> None:
        with suppress(OSError):
            while data := one.recv(_CHUNK):
                if there and self._holds(len(data)):
                    continue
                other.sendall(data)
                with self._lock:
                    self.received += 0 if there else len(data)
        for each in (one, other):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _holds(self, size: int) -> bool:
        with self._lock:
            self.sent += size
            if self._hold_at is not None and self.sent > self._hold_at:
                self.held.set()
        return self.held.is_set()

    def close(self) -> None:
        """End all connections."""
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@contextmanager
def relaying(endpoint: str, hold_at: int | None = None) -> Iterator[Proxy]:
    """Relay for as long as the block takes."""
    proxy = Proxy(endpoint, hold_at)
    thread = threading.Thread(target=proxy.accept)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        thread.join(10)

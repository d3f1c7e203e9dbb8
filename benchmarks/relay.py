"""A relay on loopback that counts what passes through it, whoever sends it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock, Thread

_CHUNK = 1 << 18


@dataclass
class Relay:
    """Passes connections to ``port`` on, unchanged; ``moved`` is the bytes of both ways."""

    port: int
    listener: socket.socket
    moved: int = 0
    _lock: Lock = field(default_factory=Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self) -> None:
        with suppress(OSError):  # the listener was closed
            while True:
                client, _ = self.listener.accept()
                Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.port)) as server:
            answers = Thread(target=self._pump, args=(server, client), daemon=True)
            answers.start()
            self._pump(client, server)
            answers.join()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                with self._lock:
                    self.moved += len(data)
                target.sendall(data)
        # Nothing comes from there any more; what still comes from the other end may pass.
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def relay(port: int) -> Iterator[Relay]:
    """Relay to a port of this machine for as long as the block takes."""
    with ExitStack() as ended:
        listener = ended.enter_context(socket.create_server(("127.0.0.1", 0)))
        made = Relay(port, listener)
        thread = Thread(target=made.accept, daemon=True)
        thread.start()
        # Closing it does not wake a thread that waits for connections.
        ended.callback(thread.join)
        ended.callback(listener.shutdown, socket.SHUT_RDWR)
        yield made

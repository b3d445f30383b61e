"""Limits on connections: their number, their time, and which one is closed to make room.

tornado has deadlines for headers and bodies, but none for readers, and no bound on connections or on unsent answers.
This module adds them, so that no client can keep others out by holding connections open.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPMessageDelegate
from tornado.ioloop import IOLoop

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Iterable

    from tornado.httputil import HTTPConnection, HTTPHeaders, RequestStartLine, ResponseStartLine
    from tornado.iostream import IOStream
    from tornado.web import Application

    from agent_exporter.server.access import Certificate

HEADER_DEADLINE = 5.0
"""Seconds for all headers, and between two requests of a connection. exporter-toolkit's peers take 2 to 10."""
BODY_DEADLINE = 10.0
"""Seconds for a whole body."""
WRITE_DEADLINE = 10.0
"""Seconds for the reader of an answer: Prometheus' own scrape timeout."""
MAX_HEADERS = 16 << 10
"""Bytes."""
MAX_IDLE_BODY = 64 << 10
"""Bytes of an unwanted body: it is read and discarded, so that the connection can continue."""
MAX_UNSENT = 48 << 20
"""Bytes of all unsent answers; beyond it the connections of the slowest readers are closed."""
MAX_CONNECTIONS = 100
"""One Prometheus and a few collectors need ten. A further one replaces the slowest."""
MAX_BODIES = 50
"""Connections that may keep their places while a body comes in."""
ACCEPT_AT_ONCE = 32
"""Connections accepted per turn of the loop: well below MAX_CONNECTIONS - MAX_BODIES, so that each is read once before
it can be the slowest."""
SLOW_READER = 1.0
"""Seconds after which the connection of a slow reader may be closed to make room for a new one."""

_HEADERS, _BODY, _ANSWER = range(3)


class _Peer:
    """How far a connection is with its current request."""

    __slots__ = ("since", "stage", "writing")

    def __init__(self) -> None:
        self.stage = _HEADERS
        self.since = time.monotonic()
        self.writing: float | None = None
        """Since when it has not taken all that was sent to it."""


class _Progress(HTTPMessageDelegate):
    """Records the progress of a request and passes everything on."""

    def __init__(self, inner: HTTPMessageDelegate, peer: _Peer) -> None:
        self._inner = inner
        self._peer = peer

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self._peer.stage = _BODY
        return self._inner.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._inner.data_received(chunk)

    def finish(self) -> None:
        self._peer.stage = _ANSWER
        self._inner.finish()

    def on_connection_close(self) -> None:
        self._inner.on_connection_close()


class BoundedServer(HTTPServer):
    """tornado's server with bounds on connections and on what slow readers hold, and a certificate that may change.

    When there are too many connections, one is given up for the new one: who has not sent all of a body if those are
    more than MAX_BODIES, then who has not sent all headers, then any who has not sent all of a body, then who does not
    read the answer; of each, who has taken longest. So whoever sends a request at once is answered.
    """

    def initialize(  # type: ignore[override]  # tornado's form of __init__
        self,
        application: Application,
        *,
        counts: dict[str, int],
        certificate: Certificate | None,
        header_deadline: float,
        body_deadline: float,
        write_deadline: float,
    ) -> None:
        """Not listening yet."""
        super().initialize(
            application,
            idle_connection_timeout=header_deadline,
            body_timeout=body_deadline,
            max_header_size=MAX_HEADERS,
            max_body_size=MAX_IDLE_BODY,
        )
        self._peers: dict[IOStream, _Peer] = {}
        self._counts = counts
        self._certificate = certificate
        self._write_deadline = write_deadline

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """As tornado does it, but few connections between two turns of the loop; see ACCEPT_AT_ONCE."""
        loop = IOLoop.current()
        for listener in sockets:
            self._sockets[listener.fileno()] = listener
            self._handlers[listener.fileno()] = partial(loop.remove_handler, listener)
            loop.add_handler(listener, self._accept, IOLoop.READ)
        self._watching = asyncio.create_task(self._watch())

    def stop(self) -> None:
        """Take no new connections."""
        self._watching.cancel()
        super().stop()

    def _accept(self, listener: socket.socket, _: int) -> None:
        for _turn in range(ACCEPT_AT_ONCE):
            try:
                connection, address = listener.accept()
            except OSError:  # none left, or one that is gone again
                return
            try:
                self._handle_connection(connection, address)
            except OSError:  # gone before TLS could begin
                connection.close()

    def _handle_connection(self, connection: socket.socket, address: Any) -> None:
        if len(self._peers) >= MAX_CONNECTIONS and not self._give_one_up():
            self._counts["dropped_connections"] += 1
            connection.close()
            return
        if self._certificate is not None:
            self._certificate.refresh()
            # From one of our own addresses, loopback or not: no other machine has it.
            self.ssl_options = self._certificate.context(here=connection.getsockname()[0] == address[0])
        super()._handle_connection(connection, address)

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> None:
        """One more connection."""
        self._peers[stream] = _Peer()
        super().handle_stream(stream, address)

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        """One more request of a connection is waited for."""
        peer = self._peers[request_conn.stream] = _Peer()  # type: ignore[attr-defined]
        return _Progress(super().start_request(server_conn, request_conn), peer)

    def on_close(self, server_conn: object) -> None:
        """A connection is at its end."""
        self._peers.pop(server_conn.stream, None)  # type: ignore[attr-defined]
        super().on_close(server_conn)

    async def _watch(self) -> None:
        """Close connections that have taken too long to read what was sent to them, be it a page or an error."""
        while True:
            await asyncio.sleep(min(1.0, self._write_deadline / 4))
            now = time.monotonic()
            for stream, peer in list(self._peers.items()):
                if not stream.writing():
                    peer.writing = None
                elif peer.writing is None:
                    peer.writing = now
                elif now - peer.writing > self._write_deadline:
                    self._drop(stream)

    def make_room(self, size: int) -> None:
        """Close the connections of the slowest readers until an answer of so many bytes fits beside the others'."""
        unsent = {stream: len(stream._write_buffer) for stream in self._peers if stream._write_buffer}  # noqa: SLF001
        excess = sum(unsent.values()) + size - MAX_UNSENT
        for stream in sorted(unsent, key=lambda stream: self._peers[stream].writing or self._peers[stream].since):
            if excess <= 0:
                return
            excess -= unsent[stream]
            self._drop(stream)

    def _give_one_up(self) -> bool:
        now = time.monotonic()
        dawdlers = {
            stream: (peer.stage, peer.since)
            for stream, peer in self._peers.items()
            if peer.stage != _ANSWER or (peer.writing is not None and now - peer.writing > SLOW_READER)
        }
        bodies = [stream for stream, (stage, _) in dawdlers.items() if stage == _BODY]
        if len(bodies) > MAX_BODIES:
            self._drop(min(bodies, key=dawdlers.__getitem__))
        elif dawdlers:
            self._drop(min(dawdlers, key=dawdlers.__getitem__))
        return bool(dawdlers)

    def _drop(self, stream: IOStream) -> None:
        self._counts["dropped_connections"] += 1
        self._peers.pop(stream, None)
        stream.close()

"""HTTP: /metrics, /-/healthy, /-/ready, /v1/logs, /v1/ndjson, /v1/sessions/{id}/budget and the status page.

tornado serves, because it bounds what must be bounded here: one thread for any number of connections, one deadline for
all headers and one for a whole body (not one per read, which a byte a second satisfies for ever), sizes of both, TLS.
http.server and prometheus_client's server take a thread per connection and wait without end (2,000 half-sent requests
made 2,002 threads); waitress and cheroot have a pool that as many slow readers can hold; uvicorn has no deadline for
headers. What tornado lacks is added in `connections`: a bound on connections that a legal client gets past, a deadline
and a bound on memory for those who read slowly; and in `handlers`: no body taken in before its sender is known.

    access     tokens, certificates, and whether a client is on this machine
    handlers   what all answers share; metrics, health and pages
    rendering  one rendering for all who ask for a page
    intake     bodies of lines, bounded: logs (OTLP) and ndjson
    budget     what a session has left
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from tornado.web import Application, RequestHandler

from agent_exporter.server.access import Certificate, Token, is_loopback
from agent_exporter.server.budget import Budget
from agent_exporter.server.connections import BODY_DEADLINE, HEADER_DEADLINE, WRITE_DEADLINE, BoundedServer
from agent_exporter.server.handlers import Asset, Exposition, Healthy, NotFound, Ready, ServerContext, Status
from agent_exporter.server.intake import ANSWER_DEADLINE
from agent_exporter.server.logs import Logs
from agent_exporter.server.ndjson import Ndjson
from agent_exporter.server.rendering import Rendering, Renderings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from agent_exporter.eventloop import EventLoop
    from agent_exporter.sources.ndjson import NdjsonSource
    from agent_exporter.sources.otlp import OtlpSource

log = logging.getLogger(__name__)

ROUTES: list[tuple[str, type[RequestHandler]]] = [
    (r"/(?:findings|agents/.+|traces/[0-9a-f]{32})?", Status),
    (r"/(?:status\.css|icon\.svg)", Asset),
    (r"/metrics", Exposition),
    (r"/-/healthy", Healthy),
    (r"/-/ready", Ready),
    (r"/v1/logs", Logs),
    (r"/v1/ndjson", Ndjson),
    (r"/v1/sessions/([^/]+)/budget", Budget),
]
THREADS = 1
"""For decoding bodies. Decoding holds the interpreter's lock, so that more threads would only hold more memory: the
worst body of 20 MiB makes some hundred megabytes of objects."""
PAGE_THREADS = 2
"""For the status page and for compressing; rendering /metrics has its own."""
PAGE_REST = 2.0
"""For twice the time that a page took no other is made: people read them, and they share a core with what reads lines
and stops sessions. Sixty browsers on one page cost as little as one."""
COUNTS = {
    200: "accepted", 401: "unauthorised", 403: "unauthorised", 413: "too_large", 500: "failed", 503: "busy",
}  # fmt: skip
"""What an answer counts as; all others are bad requests. Nothing that a client sends makes a new name."""


class AddressInUse(OSError):  # noqa: N818  (a sentence)
    """The address cannot be listened at; the sentence says why."""


class Server:
    """Listens from `start` to `stop`. `start` raises OSError with a sentence if the address cannot be had.

    `metrics` gives (content type, body) for an Accept header, `ready` a sentence why not or None, `status` the
    page of a path, or None, `budget` what a session has left.
    """

    def __init__(
        self,
        loop: EventLoop,
        *,
        listen: str,
        metrics: Callable[[str], Future[tuple[str, bytes]]],
        ready: Callable[[], str | None],
        status: Callable[[str, int | None], str | None],
        budget: Callable[[str, str | None, str], dict[str, Any]],
        otlp: OtlpSource | None = None,
        ndjson: NdjsonSource | None = None,
        tls: tuple[Path, Path, Path | None] | None = None,
        token_file: Path | None = None,
        allowed_hosts: Iterable[str] = (),
        header_deadline: float = HEADER_DEADLINE,
        body_deadline: float = BODY_DEADLINE,
        write_deadline: float = WRITE_DEADLINE,
        answer_deadline: float = ANSWER_DEADLINE,
    ) -> None:
        self.loop = loop
        self.port = 0
        """The one that it listens at; 0 until it does."""
        self.ready = ready
        self.status = status
        self.budget = budget
        self.otlp = otlp
        self.ndjson = ndjson
        self.answer_deadline = answer_deadline
        self._listen = listen
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.removeprefix("[").removesuffix("]"), int(port)
        self.loopback = is_loopback(self._host)
        self.allowed_hosts = frozenset(name.lower() for name in allowed_hosts)
        self.token = None if token_file is None else Token(token_file)
        self.decoders = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")
        self.pool = ThreadPoolExecutor(PAGE_THREADS, thread_name_prefix="page")
        self.metrics = metrics
        self.expositions: Renderings[Rendering] = Renderings()
        self.pages: Renderings[str | None] = Renderings(rest=PAGE_REST)
        self.receiving = 0
        """Bytes of bodies in memory that are not decoded yet."""
        self.counts = dict.fromkeys((*COUNTS.values(), "bad_request", "dropped_connections"), 0)
        """Answers by what they said, and connections that were closed for dawdling. Changed on the loop alone."""
        certificate = None if tls is None else Certificate(*tls)
        self.asks_certificate = certificate is not None and certificate.asks
        shared: dict[str, ServerContext] = {"server": self}
        self._http = BoundedServer(
            Application(
                [(path, handler, shared) for path, handler in ROUTES],
                default_handler_class=NotFound,
                default_handler_args=shared,
                log_function=self._count,
            ),
            counts=self.counts,
            certificate=certificate,
            header_deadline=header_deadline,
            body_deadline=body_deadline,
            write_deadline=write_deadline,
        )

    def start(self) -> None:
        """Bind and serve."""
        if not self.loopback and self.token is None:
            log.warning(
                "listening beyond this machine without server.token_file: anyone who reaches it can read /metrics"
            )
        self.loop.submit(self._start()).result()

    def stop(self) -> None:
        """Close every connection."""
        if self.port:
            # If the loop is stuck or has ended, the rest is to be closed all the same.
            with contextlib.suppress(TimeoutError, RuntimeError):
                self.loop.submit(self._stop()).result(5)
        self.decoders.shutdown(wait=False, cancel_futures=True)
        self.pool.shutdown(wait=False, cancel_futures=True)

    def make_room(self, size: int) -> None:
        """Before an answer of so many bytes is sent."""
        self._http.make_room(size)

    def _count(self, handler: RequestHandler) -> None:
        self.counts[COUNTS.get(handler.get_status(), "bad_request")] += 1

    async def _start(self) -> None:
        try:
            sockets = _bind(self._host, self._port)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error
            raise AddressInUse(f"cannot listen at {self._listen}: {why}") from error
        self._http.add_sockets(sockets)
        self.port = sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._http.stop()
        await self._http.close_all_connections()


def _bind(host: str, port: int) -> list[socket.socket]:
    """At all addresses that the host has; localhost may have two. tornado's own leaves sockets open when it fails."""
    with contextlib.ExitStack() as opened:
        sockets: list[socket.socket] = []
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            where = (address[0], port, *address[2:])
            try:
                listener = opened.enter_context(socket.create_server(where, family=family, backlog=128))
            except OSError as error:
                if host == "localhost" and error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    continue  # IPv6 is turned off
                raise
            listener.setblocking(False)
            sockets.append(listener)
            port = listener.getsockname()[1]
        if not sockets:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        opened.pop_all()
    return sockets

"""HTTP: /metrics, /-/healthy, /-/ready, /v1/logs and the landing page.

tornado serves, because it bounds what must be bounded here: one thread for any number of connections, one deadline for
all headers and one for a whole body (not one per read, which a byte a second satisfies for ever), sizes of both, TLS.
http.server and prometheus_client's server take a thread per connection and wait without end (2,000 half-sent requests
made 2,002 threads); waitress and cheroot have a pool that as many slow readers can hold; uvicorn has no deadline for
headers. What tornado lacks is added below: a bound on connections that a legal client gets past, a deadline and a bound
on memory for those who read slowly, and no body taken in before its sender is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import logging
import os
import socket
import ssl
import time
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import msgspec
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPMessageDelegate
from tornado.ioloop import IOLoop
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body

from exporter.sources.otlp import Busy, Receipt, decode_json, decode_protobuf
from exporter.spans.encode import field, varint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from tornado.httputil import HTTPConnection, HTTPHeaders, RequestStartLine, ResponseStartLine
    from tornado.iostream import IOStream

    from exporter.eventloop import EventLoop
    from exporter.sources.otlp import OtlpSource, Record

log = logging.getLogger(__name__)

HEADER_DEADLINE = 5.0
"""Seconds for all headers, and between two requests of a connection. exporter-toolkit's peers take 2 to 10."""
BODY_DEADLINE = 10.0
"""Seconds for a whole body."""
WRITE_DEADLINE = 10.0
"""Seconds for the reader of an answer: Prometheus' own scrape timeout."""
ANSWER_DEADLINE = 25.0
"""Seconds that a sender waits for the commit of its lines: less than the collector's timeout of 30."""
MOST_HEADERS = 16 << 10
"""Bytes."""
MOST_BODY = 20 << 20
"""Bytes, both before and after decompression: the default of a collector's own receiver."""
MOST_BODIES = 64 << 20
"""Bytes of all bodies that are being received or wait to be decoded; beyond it a sender is asked to try again."""
MOST_UNSENT = 48 << 20
"""Bytes of all answers that wait for their readers; beyond it the slowest readers are hung up on."""
MOST_IDLE_BODY = 64 << 10
"""Bytes of a body that nobody asked for, a GET's: it is read and forgotten, so that the connection can go on."""
MOST_CONNECTIONS = 100
"""One Prometheus and a few collectors need ten. A further one takes the place of whoever has dawdled longest."""
ACCEPT_AT_ONCE = 32
"""Connections between two turns of the loop: well below MOST_CONNECTIONS, so that each is read once before it can be
the longest dawdler."""
SLOW_READER = 1.0
"""Seconds after which a reader may be hung up on for the sake of a new connection."""
THREADS = 1
"""For decoding bodies. Decoding holds the interpreter's lock, so that more threads would only hold more memory: the
worst body of 20 MiB makes some hundred megabytes of objects."""
PAGE_THREADS = 2
"""For the landing page and for compressing; rendering /metrics has its own."""
COUNTS = {
    200: "accepted", 401: "unauthorised", 403: "unauthorised", 413: "too_large", 500: "failed", 503: "busy",
}  # fmt: skip
"""What an answer counts as; all others are bad requests. Nothing that a client sends makes a new name."""
_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Server:
    """Listens from `start` to `stop`. `start` raises OSError with a sentence if the address cannot be had.

    `metrics` gives (content type, body) for an Accept header, `ready` a sentence why not or None, `landing` the page.
    """

    def __init__(
        self,
        loop: EventLoop,
        *,
        listen: str,
        metrics: Callable[[str], Future[tuple[str, bytes]]],
        ready: Callable[[], str | None],
        landing: Callable[[], str],
        otlp: OtlpSource | None = None,
        tls: tuple[Path, Path, Path | None] | None = None,
        token_file: Path | None = None,
        header_deadline: float = HEADER_DEADLINE,
        body_deadline: float = BODY_DEADLINE,
        write_deadline: float = WRITE_DEADLINE,
        answer_deadline: float = ANSWER_DEADLINE,
    ) -> None:
        self.loop = loop
        self.port = 0
        self.metrics = metrics
        self.ready = ready
        self.landing = landing
        self.otlp = otlp
        self.answer_deadline = answer_deadline
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.removeprefix("[").removesuffix("]"), int(port)
        self.loopback = self._host == "localhost" or ip_address(self._host).is_loopback
        self.token = None if token_file is None else Token(token_file)
        self._tls = None if tls is None else Certificate(*tls)
        self.decoders = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")
        self.pages = ThreadPoolExecutor(PAGE_THREADS, thread_name_prefix="page")
        self.receiving = 0
        """Bytes of bodies in memory that are not decoded yet."""
        self.counts = dict.fromkeys((*COUNTS.values(), "bad_request", "dropped_connections"), 0)
        """Answers by what they said, and connections that were closed for dawdling. Changed on the loop alone."""
        self._listen = listen
        self._deadlines = header_deadline, body_deadline
        self._write_deadline = write_deadline
        self._http: _Bounded | None = None
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Bind and serve."""
        if not self.loopback and self.token is None:
            log.warning(
                "listening beyond this machine without server.token_file: anyone who reaches it can read /metrics"
            )
        self.loop.submit(self._start()).result()

    def stop(self) -> None:
        """Close every connection."""
        if self._http is not None:
            # If the loop is stuck or has ended, the rest is to be closed all the same.
            with contextlib.suppress(TimeoutError, RuntimeError):
                self.loop.submit(self._stop()).result(5)
        self.decoders.shutdown(wait=False, cancel_futures=True)
        self.pages.shutdown(wait=False, cancel_futures=True)

    def make_room(self, size: int) -> None:
        """Before an answer of so many bytes is sent."""
        assert self._http is not None
        self._http.make_room(size)

    def _count(self, handler: RequestHandler) -> None:
        self.counts[COUNTS.get(handler.get_status(), "bad_request")] += 1

    async def _start(self) -> None:
        routes = [
            (r"/", Landing),
            (r"/metrics", Exposition),
            (r"/-/healthy", Healthy),
            (r"/-/ready", Ready),
            (r"/v1/logs", Logs),
        ]
        application = Application(
            [(path, handler, {"server": self}) for path, handler in routes],
            default_handler_class=NotFound,
            default_handler_args={"server": self},
            log_function=self._count,
        )
        header_deadline, body_deadline = self._deadlines
        try:
            sockets = _bind(self._host, self._port)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error
            raise OSError(f"cannot listen at {self._listen}: {why}") from error
        self._http = _Bounded(
            application,
            ssl_options=self._tls.context if self._tls is not None else None,
            idle_connection_timeout=header_deadline,
            body_timeout=body_deadline,
            max_header_size=MOST_HEADERS,
            max_body_size=MOST_IDLE_BODY,
        )
        self._http.counts = self.counts
        self._http.certificate = self._tls
        self._http.add_sockets(sockets)
        self._watching = asyncio.create_task(self._watch(self._http))
        self.port = sockets[0].getsockname()[1]

    async def _watch(self, http: _Bounded) -> None:
        while True:
            await asyncio.sleep(min(1.0, self._write_deadline / 4))
            http.hang_up(self._write_deadline)

    async def _stop(self) -> None:
        assert self._http is not None
        assert self._watching is not None
        self._watching.cancel()
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


_HEADERS, _BODY, _ANSWER = range(3)


class _Peer:
    """How far a connection is with its current request."""

    __slots__ = ("since", "stage", "writing")

    def __init__(self) -> None:
        self.stage = _HEADERS
        self.since = time.monotonic()
        self.writing: float | None = None
        """Since when it has not taken all that was sent to it."""


class _Bounded(HTTPServer):
    """tornado's server with bounds on connections and on what slow readers hold, and a certificate that may change.

    When there are too many connections, one is given up for the new one: who has not sent all headers, then who has
    not sent all of a body, then who does not read the answer; of each, who has taken longest. So nobody can keep
    others out by holding connections open, and whoever sends a request at once is answered.
    """

    certificate: Certificate | None = None
    counts: dict[str, int]

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """As tornado does it, but few connections between two turns of the loop; see ACCEPT_AT_ONCE."""
        self._peers: dict[IOStream, _Peer] = {}
        loop = IOLoop.current()
        for listener in sockets:
            self._sockets[listener.fileno()] = listener
            loop.add_handler(listener, self._accept, IOLoop.READ)

            def remove(listener: socket.socket = listener) -> None:
                loop.remove_handler(listener)

            self._handlers[listener.fileno()] = remove

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
        if len(self._peers) >= MOST_CONNECTIONS and not self._give_one_up():
            self.counts["dropped_connections"] += 1
            connection.close()
            return
        if self.certificate is not None:
            self.certificate.refresh()
            self.ssl_options = self.certificate.context
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

    def hang_up(self, deadline: float) -> None:
        """Close connections that have taken too long to read what was sent to them, be it a page or an error."""
        now = time.monotonic()
        for stream, peer in list(self._peers.items()):
            if not stream.writing():
                peer.writing = None
            elif peer.writing is None:
                peer.writing = now
            elif now - peer.writing > deadline:
                self._drop(stream)

    def make_room(self, size: int) -> None:
        """Close the connections of the slowest readers until an answer of so many bytes fits beside the others'."""
        unsent = {stream: len(stream._write_buffer) for stream in self._peers if stream._write_buffer}  # noqa: SLF001
        slowest_last = sorted(unsent, key=lambda stream: -(self._peers[stream].writing or self._peers[stream].since))
        total = sum(unsent.values())
        while slowest_last and total + size > MOST_UNSENT:
            stream = slowest_last.pop()
            total -= unsent[stream]
            self._drop(stream)

    def _give_one_up(self) -> bool:
        now = time.monotonic()
        dawdlers = [
            (peer.stage, peer.since, id(stream), stream)
            for stream, peer in self._peers.items()
            if peer.stage != _ANSWER or (peer.writing is not None and now - peer.writing > SLOW_READER)
        ]
        if not dawdlers:
            return False
        self._drop(min(dawdlers)[-1])
        return True

    def _drop(self, stream: IOStream) -> None:
        self.counts["dropped_connections"] += 1
        self._peers.pop(stream, None)
        stream.close()


class _Progress(HTTPMessageDelegate):
    """Notes how far a request has come, and hands everything on."""

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


class Token:
    """The bearer token in a file, read for each request: it may change. An empty or missing file lets nobody in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            if path.stat().st_mode & 0o077:
                log.warning("server.token_file %s can be read by others: chmod 600 it", path)
        except OSError as error:
            log.warning("server.token_file %s: %s; nobody is let in until it is there", path, error.strerror)

    def allows(self, authorization: str) -> bool:
        """Whether a header `Bearer TOKEN` has it; takes the same time for every wrong one."""
        scheme, _, given = authorization.partition(" ")
        try:
            token = self._path.read_bytes().strip()
        except OSError:
            token = b""
        fits = hmac.compare_digest(given.strip().encode("latin-1", "replace"), token)  # as tornado decodes headers
        return fits and bool(token) and scheme.lower() == "bearer"


class Certificate:
    """A TLS context that follows its files: a renewed certificate serves the next connection.

    Raises OSError with a sentence if the files cannot be used at the beginning. Later the last good ones stay.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        self._stamp = self._look()
        try:
            self.context = self._load()
            if key.stat().st_mode & 0o077:
                log.warning("server.tls_key_file %s can be read by others: chmod 600 it", key)
        except OSError as error:
            raise OSError(self._sentence(error)) from error

    def refresh(self) -> None:
        """Load the files again if they have changed; keep the old ones while the new ones do not fit together."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            # Into a new context: a certificate without its key would leave the old one with neither.
            self.context = self._load()
            log.info("TLS certificate %s loaded anew", self._certificate)
        except OSError as error:
            log.error("%s; the former ones stay in use", self._sentence(error))  # noqa: TRY400

    def _look(self) -> list[tuple[int, int, int]]:
        stamp = []
        for path in (self._certificate, self._key, self._client_ca):
            with contextlib.suppress(OSError):
                if path is not None:
                    status = path.stat()
                    stamp.append((status.st_mtime_ns, status.st_ino, status.st_size))
        return stamp

    def _load(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self._client_ca is not None:
            context.load_verify_locations(self._client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self._certificate, self._key, password=lambda: "")  # or it would ask at the terminal
        return context

    def _sentence(self, error: OSError) -> str:
        files = f"certificate {self._certificate}, key {self._key}"
        if self._client_ca is not None:
            files += f", client CA {self._client_ca}"
        return f"TLS cannot be used ({files}): {error.strerror or error}"


class _Refusal(HTTPError):  # noqa: N818
    """An answer that is an error, with the one sentence that its client is told."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(status)
        self.sentence = sentence
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@stream_request_body
class _Handler(RequestHandler):
    """What all pages share: headers, methods, authorisation, errors in a sentence.

    All stream, so that `prepare` comes before the body, and no body is kept that nobody wants.
    """

    open_to_all = False
    allow = "GET, HEAD"

    def initialize(self, server: Server) -> None:
        self.server = server

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in _SECURITY.items():
            self.set_header(name, value)

    def compute_etag(self) -> None:
        """Nothing here is the same twice, and to find out takes time."""

    def prepare(self) -> None:
        # A page of another site may have its own name resolved to 127.0.0.1 and read what is served here.
        if self.server.loopback and self.server.token is None and not _is_local(self.request.host_name):
            raise _Refusal(403, "this address serves only requests for localhost")
        if (
            not self.open_to_all
            and self.server.token is not None
            and not self.server.token.allows(self.request.headers.get("Authorization", ""))
        ):
            raise _Refusal(401, "a bearer token is required", WWW_Authenticate="Bearer")
        if self.request.method not in self.allow.split(", "):
            raise HTTPError(405)

    def data_received(self, chunk: bytes) -> None:
        """Nobody wants it."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, _Refusal):
            sentence = error.sentence
            for name, value in error.headers.items():
                self.set_header(name, value)
        elif isinstance(error, HTTPError):  # tornado's own: of what they say, nothing is ours to tell
            if status_code == 405:
                self.set_header("Allow", self.allow)
            sentence = f"use {self.allow}" if status_code == 405 else self._reason
        elif error is None or isinstance(error, asyncio.CancelledError):
            self.set_status(503)
            sentence = "shutting down"
        else:
            log.error("%s %s failed", self.request.method, self.request.path, exc_info=kwargs.get("exc_info"))
            sentence = "something went wrong here; the log says what"
        if not self.request._body_future.done():  # noqa: SLF001
            self.set_header("Connection", "close")  # tornado closes it rather than read the rest, and does not say so
        self.finish_error(sentence)

    def finish_error(self, sentence: str) -> None:
        """Say it as this page says things."""
        self.send(f"{sentence}\n".encode(), "text/plain; charset=utf-8")

    def log_exception(self, *_: Any) -> None:
        """write_error has said it."""

    def send(self, body: bytes, content_type: str) -> None:
        """Answer. Whoever takes too long to read it is hung up on by `_Bounded`."""
        self.set_header("Content-Type", content_type)
        self.server.make_room(len(body))
        self.finish(body)


class NotFound(_Handler):
    """Everything else."""

    open_to_all = True

    def prepare(self) -> None:
        raise _Refusal(404, "there is nothing here; / says what there is")


class Healthy(_Handler):
    """The process answers."""

    open_to_all = True

    def get(self) -> None:
        self.send(b"agent-exporter is healthy\n", "text/plain; charset=utf-8")

    head = get


class Ready(_Handler):
    """It reads, and can remember what it read."""

    open_to_all = True

    def get(self) -> None:
        problem = self.server.ready()
        if problem is not None:
            self.set_status(503)
        self.send(f"{problem or 'agent-exporter is ready'}\n".encode(), "text/plain; charset=utf-8")

    head = get


class Landing(_Handler):
    """The page for people."""

    async def get(self) -> None:
        page = await asyncio.get_running_loop().run_in_executor(self.server.pages, self.server.landing)
        self.send(page.encode(), "text/html; charset=utf-8")

    head = get


class Exposition(_Handler):
    """What Prometheus scrapes."""

    async def get(self) -> None:
        try:
            content_type, body = await asyncio.wrap_future(self.server.metrics(self.request.headers.get("Accept", "")))
        except TimeoutError as error:
            raise _Refusal(503, "the pipeline is too busy to answer a scrape") from error
        except RuntimeError as error:
            problem = self.server.ready()
            if problem is None:
                raise
            raise _Refusal(503, problem) from error  # the pipeline has ended before us
        self.set_header("Vary", "Accept, Accept-Encoding")
        if _takes_gzip(self.request.headers.get("Accept-Encoding", "")):
            self.set_header("Content-Encoding", "gzip")
            body = await asyncio.get_running_loop().run_in_executor(self.server.pages, _gzip, body)
        self.send(body, content_type)

    head = get


class Logs(_Handler):
    """OTLP log records. Whoever may not send, or sends too much, is told so before the body is taken in."""

    allow = "POST"

    def initialize(self, server: Server) -> None:
        super().initialize(server)
        self.kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.encoding = self.request.headers.get("Content-Encoding", "identity").strip().lower()
        self.body = bytearray()
        self.held = 0
        self.decoding = False

    def prepare(self) -> None:
        super().prepare()
        server = self.server
        if server.otlp is None:
            raise _Refusal(404, "otlp_logs.enabled is false in the config")
        if server.token is None and not server.loopback:
            raise _Refusal(403, "lines from other machines need server.token_file, so that nobody else writes them")
        if self.kind not in _DECODERS:
            raise _Refusal(415, "Content-Type must be application/x-protobuf or application/json")
        if self.encoding not in {"identity", "gzip"}:
            raise _Refusal(415, "Content-Encoding must be gzip or absent")
        self._check_length()
        self.request.connection.set_max_body_size(1 << 62)  # type: ignore[union-attr]  # data_received counts

    def _check_length(self) -> None:
        length = self.request.headers.get("Content-Length")
        if "Transfer-Encoding" in self.request.headers:
            if length is not None:
                raise _Refusal(400, "Content-Length and Transfer-Encoding exclude each other")
            return
        if length is None:
            raise _Refusal(411, "Content-Length is required")
        lengths = {part.strip() for part in length.split(",")}
        first = lengths.pop()
        if lengths or not first.isascii() or not first.isdigit():
            raise _Refusal(400, "Content-Length must be one number")
        if len(first) > 15 or int(first) > MOST_BODY:
            raise _too_large()

    def data_received(self, chunk: bytes) -> None:
        if self._finished:
            return
        size = len(chunk)
        if self.held + size > MOST_BODY:
            self._refuse(_too_large())
        elif self.server.receiving + size > MOST_BODIES:
            self._refuse(_busy("too many bodies are being received"))
        else:
            self.server.receiving += size
            self.held += size
            self.body += chunk

    def _refuse(self, refusal: _Refusal) -> None:
        """In the middle of a body: what is left of it is not waited for."""
        self.send_error(refusal.status_code, exc_info=(type(refusal), refusal, None))

    def on_finish(self) -> None:
        self._release()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._release()

    def _release(self) -> None:
        if not self.decoding:  # a body that waits for a thread is in memory even if its sender is gone
            self.server.receiving -= self.held
            self.held = 0
            self.body = bytearray()

    async def post(self) -> None:
        otlp = self.server.otlp
        assert otlp is not None
        try:
            records = await self._decode()
            answer = otlp.deliver(records)
            del records
            receipt = await asyncio.wait_for(asyncio.wrap_future(answer), self.server.answer_deadline)
        except ValueError as error:
            raise _Refusal(400, str(error)) from error
        except (Busy, TimeoutError) as error:
            raise _busy(str(error) or "the lines were not counted in time") from error
        encode = _partial_success_json if self.kind == _JSON else _partial_success
        self.send(encode(receipt), self.kind)

    async def _decode(self) -> list[Record]:
        self.decoding = True
        try:
            body, self.body = self.body, bytearray()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.server.decoders, _decode, self.kind, self.encoding, body)
        finally:
            self.decoding = False
            self._release()

    def finish_error(self, sentence: str) -> None:
        """A google.rpc.Status in the encoding of the request, as OTLP has it."""
        code = _CODES.get(self.get_status(), _INVALID_ARGUMENT)
        if self.kind == _JSON:
            self.send(msgspec.json.encode({"code": code, "message": sentence}), self.kind)
        elif self.kind in _DECODERS:
            self.send(b"\x08" + varint(code) + field(2, sentence.encode("utf-8", "replace")), self.kind)
        else:
            super().finish_error(sentence)


_INVALID_ARGUMENT = 3
_CODES = {401: 16, 403: 7, 404: 12, 405: 12, 500: 13, 503: 14}
"""google.rpc.Code: UNAUTHENTICATED, PERMISSION_DENIED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE."""
_JSON = "application/json"
_DECODERS: dict[str, Callable[[bytes | bytearray], list[Record]]] = {
    "application/x-protobuf": decode_protobuf,
    _JSON: decode_json,
}


def _why(receipt: Receipt) -> str:
    text = f"{receipt.rejected} lines are no records; the last one: {receipt.why}"
    return text.encode("utf-8", "replace").decode()


def _partial_success(receipt: Receipt) -> bytes:
    """An ExportLogsServiceResponse."""
    if not receipt.rejected:
        return b""
    return field(1, b"\x08" + varint(receipt.rejected) + field(2, _why(receipt).encode()))


def _partial_success_json(receipt: Receipt) -> bytes:
    if not receipt.rejected:
        return b"{}"
    partial = {
        "rejectedLogRecords": str(receipt.rejected),
        "errorMessage": _why(receipt).encode("utf-8", "replace").decode(),
    }
    return msgspec.json.encode({"partialSuccess": partial})


def _too_large() -> _Refusal:
    return _Refusal(413, f"the body is over {MOST_BODY >> 20} MiB")


def _busy(sentence: str) -> _Refusal:
    return _Refusal(503, sentence, Retry_After="1")


def _decode(kind: str, encoding: str, body: bytes | bytearray) -> list[Record]:
    return _DECODERS[kind](_gunzip(body) if encoding == "gzip" else body)


_STEP = 64 << 10
_MOST_MEMBERS = 1000


def _gunzip(data: bytes | bytearray, most: int = MOST_BODY) -> bytes:
    """All members of a gzip file, never more than `most` bytes of them: a megabyte may hold a gigabyte.

    Step by step, as zlib copies what follows a member: a million empty members would copy the rest a million times.
    """
    view = memoryview(data)
    out: list[bytes] = []
    size = at = members = 0
    while at < len(view) or not members:
        members += 1
        if members > _MOST_MEMBERS:
            raise ValueError(f"the body's gzip has over {_MOST_MEMBERS} members")
        inflater = zlib.decompressobj(31)
        while not inflater.eof:
            step = view[at : at + _STEP]
            if not step:
                raise ValueError("the body's gzip is cut off")
            at += len(step)
            try:
                out.append(inflater.decompress(step, most + 1 - size))
            except zlib.error as error:
                raise ValueError(f"the body is no gzip: {error}") from error
            size += len(out[-1])
            if size > most:
                raise _Refusal(413, f"the body is over {most >> 20} MiB when decompressed")
        at -= len(inflater.unused_data)
    return b"".join(out)


def _takes_gzip(accept_encoding: str) -> bool:
    for part in accept_encoding.lower().split(","):
        name, *parameters = part.replace(" ", "").split(";")
        if name == "gzip":
            return not any(parameter in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for parameter in parameters)
    return False


def _gzip(body: bytes) -> bytes:
    """Level 1: a scrape is read once, on the same machine or network."""
    deflater = zlib.compressobj(1, zlib.DEFLATED, 31)
    return deflater.compress(body) + deflater.flush()


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True

"""HTTP: /metrics, /-/healthy, /-/ready, /v1/logs and the landing page.

tornado serves, because it bounds what must be bounded here: one thread for any number of connections, one deadline for
all headers and one for a whole body (not one per read, which a byte a second satisfies for ever), sizes of both, TLS.
http.server and prometheus_client's server take a thread per connection and wait without end (2,000 half-sent requests
made 2,002 threads); waitress and cheroot have a pool that as many slow readers can hold; uvicorn has no deadline for
headers. What tornado lacks is added below: a bound on connections, and a deadline for those who read slowly.
"""

from __future__ import annotations

import asyncio
import functools
import hmac
import logging
import ssl
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import msgspec
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body

from exporter.sources.otlp import Busy, Receipt, decode_json, decode_protobuf
from exporter.spans.encode import field, varint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
"""Bytes of all bodies that are being received; beyond it a sender is asked to try again."""
MOST_CONNECTIONS = 100
"""More are closed at once. One Prometheus and a few collectors need ten."""
THREADS = 4
"""For decoding bodies; rendering has its own."""
_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
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
    ) -> None:
        self.loop = loop
        self.port = 0
        self.metrics = metrics
        self.ready = ready
        self.landing = landing
        self.otlp = otlp
        self.write_deadline = write_deadline
        host, _, port = listen.rpartition(":")
        self._host, self._port = host.removeprefix("[").removesuffix("]"), int(port)
        self.loopback = self._host == "localhost" or ip_address(self._host).is_loopback
        self.token = None if token_file is None else Token(token_file)
        self._tls = None if tls is None else Certificate(*tls)
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")
        self.receiving = 0
        self._deadlines = header_deadline, body_deadline
        self._http: _Bounded | None = None

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
            self.loop.submit(self._stop()).result(5)
        self.pool.shutdown(wait=False, cancel_futures=True)

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
            log_function=lambda _: None,
        )
        header_deadline, body_deadline = self._deadlines
        try:
            sockets = bind_sockets(self._port, self._host)
        except OSError as error:
            raise OSError(f"cannot listen at {self._host}:{self._port}: {error.strerror or error}") from error
        self._http = _Bounded(
            application,
            ssl_options=self._tls.context if self._tls is not None else None,
            idle_connection_timeout=header_deadline,
            body_timeout=body_deadline,
            max_header_size=MOST_HEADERS,
            max_body_size=MOST_BODY,
        )
        self._http.certificate = self._tls
        self._http.add_sockets(sockets)
        self.port = sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        assert self._http is not None
        self._http.stop()
        await self._http.close_all_connections()


class _Bounded(HTTPServer):
    """tornado's server with a bound on connections, and a certificate that may change on disk."""

    certificate: Certificate | None = None

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> None:
        """One more connection."""
        if len(self._connections) >= MOST_CONNECTIONS:
            stream.close()
            return
        if self.certificate is not None:
            self.certificate.refresh()
        super().handle_stream(stream, address)


class Token:
    """The bearer token in a file, read again when the file changes. An empty or missing file lets nobody in."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._value = b""
        try:
            if path.stat().st_mode & 0o077:
                log.warning("server.token_file %s can be read by others: chmod 600 it", path)
        except OSError as error:
            log.warning("server.token_file %s: %s; nobody is let in until it is there", path, error.strerror)

    def allows(self, authorization: str) -> bool:
        """Whether a header `Bearer TOKEN` has it; takes the same time for every wrong one."""
        scheme, _, given = authorization.partition(" ")
        token = self._read()
        fits = hmac.compare_digest(given.strip().encode("utf-8", "surrogatepass"), token)
        return fits and bool(token) and scheme.lower() == "bearer"

    def _read(self) -> bytes:
        try:
            status = self._path.stat()
            stamp = status.st_mtime_ns, status.st_ino
            if stamp != self._stamp:
                self._value = self._path.read_bytes().strip()
                self._stamp = stamp
        except OSError:
            self._value, self._stamp = b"", None
        return self._value


class Certificate:
    """A TLS context that follows its files: a renewed certificate serves the next connection."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._files = certificate, key
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        if client_ca is not None:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self._stamp: tuple[int, ...] = ()
        self.refresh()
        if not self._stamp:
            raise OSError(f"the TLS certificate {certificate} and key {key} cannot be used")

    def refresh(self) -> None:
        """Load the files again if they have changed; keep the old ones while the new ones do not fit together."""
        try:
            stamp = tuple(path.stat().st_mtime_ns for path in self._files)
            if stamp != self._stamp:
                self.context.load_cert_chain(*self._files)
                self._stamp = stamp
        except (OSError, ssl.SSLError) as error:
            log.error("TLS certificate not loaded: %s", error)  # noqa: TRY400


class _Handler(RequestHandler):
    """What all pages share: headers, methods, authorisation, errors in a sentence."""

    SUPPORTED_METHODS = ("GET", "HEAD", "POST")
    open_to_all = False
    allow = "GET, HEAD"

    def initialize(self, server: Server) -> None:
        self.server = server

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in _SECURITY.items():
            self.set_header(name, value)

    def prepare(self) -> None:
        # A page of another site may have its own name resolved to 127.0.0.1 and read what is served here.
        if self.server.loopback and self.server.token is None and not _is_local(self.request.host_name):
            raise HTTPError(403, "this address serves only requests for localhost")
        if self.open_to_all or self.server.token is None:
            return
        if not self.server.token.allows(self.request.headers.get("Authorization", "")):
            self.set_header("WWW-Authenticate", "Bearer")
            raise HTTPError(401, "a bearer token is required")

    def refuse_method(self, *_: str) -> None:
        self.set_header("Allow", self.allow)
        raise HTTPError(405, f"use {self.allow}")

    get = head = post = refuse_method

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ARG002
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, HTTPError):
            sentence = error.log_message or error.reason or self._reason
        else:
            log.error("%s %s failed", self.request.method, self.request.path, exc_info=kwargs.get("exc_info"))
            sentence = "something went wrong here; the log says what"
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{sentence}\n")

    def log_exception(self, *_: Any) -> None:
        """write_error has said it."""

    async def send(self, body: bytes | str, content_type: str) -> None:
        """Answer, and hang up on whoever takes too long to read it."""
        self.set_header("Content-Type", content_type)
        if self.request.method == "HEAD":
            self.set_header("Content-Length", len(body))
            self.finish()
            return
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(self.finish(body))), self.server.write_deadline)
        except TimeoutError:
            connection = self.request.connection
            stream = getattr(connection, "stream", None)
            if stream is not None:
                stream.close()
        except StreamClosedError:
            pass


class NotFound(_Handler):
    """Everything else."""

    open_to_all = True

    def get(self, *_: str) -> None:
        raise HTTPError(404, "there is nothing here; / says what there is")

    head = post = get


class Healthy(_Handler):
    """The process answers."""

    open_to_all = True

    async def get(self) -> None:  # type: ignore[override]
        await self.send("agent-exporter is healthy\n", "text/plain; charset=utf-8")

    head = get  # type: ignore[assignment]


class Ready(_Handler):
    """It reads, and can remember what it read."""

    open_to_all = True

    async def get(self) -> None:  # type: ignore[override]
        problem = self.server.ready()
        if problem is not None:
            self.set_status(503)
        await self.send(f"{problem or 'agent-exporter is ready'}\n", "text/plain; charset=utf-8")

    head = get  # type: ignore[assignment]


class Landing(_Handler):
    """The page for people."""

    async def get(self) -> None:  # type: ignore[override]
        page = await asyncio.get_running_loop().run_in_executor(self.server.pool, self.server.landing)
        await self.send(page, "text/html; charset=utf-8")

    head = get  # type: ignore[assignment]


class Exposition(_Handler):
    """What Prometheus scrapes."""

    async def get(self) -> None:  # type: ignore[override]
        try:
            content_type, body = await asyncio.wrap_future(self.server.metrics(self.request.headers.get("Accept", "")))
        except TimeoutError as error:
            raise HTTPError(503, "the pipeline is too busy to answer a scrape") from error
        self.set_header("Vary", "Accept, Accept-Encoding")
        if "gzip" in self.request.headers.get("Accept-Encoding", ""):
            self.set_header("Content-Encoding", "gzip")
            loop = asyncio.get_running_loop()
            body = await loop.run_in_executor(self.server.pool, functools.partial(_gzip, body))
        await self.send(body, content_type)

    head = get  # type: ignore[assignment]


@stream_request_body
class Logs(_Handler):
    """OTLP log records. Whoever may not send, or sends too much, is told so before the body is taken in."""

    allow = "POST"

    def prepare(self) -> None:
        self.body = bytearray()
        self.crowded = False
        super().prepare()
        if self.request.method != "POST":
            return
        server = self.server
        if server.otlp is None:
            raise HTTPError(404, "otlp_logs.enabled is false in the config")
        if server.token is None and not server.loopback:
            raise HTTPError(403, "lines from other machines need server.token_file, so that nobody else writes them")
        self.kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if self.kind not in _DECODERS:
            raise HTTPError(415, "Content-Type must be application/x-protobuf or application/json")
        length = self.request.headers.get("Content-Length", "0")
        if length.isdigit() and int(length) > MOST_BODY:
            raise HTTPError(413, f"the body is over {MOST_BODY >> 20} MiB")

    def data_received(self, chunk: bytes) -> None:
        if self.crowded or self.server.receiving + len(chunk) > MOST_BODIES:
            self.crowded = True
            return
        self.server.receiving += len(chunk)
        self.body += chunk

    def on_finish(self) -> None:
        self.server.receiving -= len(self.body)
        self.body = bytearray()

    on_connection_close = on_finish

    async def post(self) -> None:  # type: ignore[override]
        encoding = self.request.headers.get("Content-Encoding", "identity").strip().lower()
        try:
            if self.crowded:
                raise Busy("too many bodies are being received")
            loop = asyncio.get_running_loop()
            records = await loop.run_in_executor(self.server.pool, _decode, self.kind, encoding, bytes(self.body))
            assert self.server.otlp is not None
            answer = self.server.otlp.deliver(records)
            receipt = await asyncio.wait_for(asyncio.wrap_future(answer), ANSWER_DEADLINE)
        except _TooLargeError as error:
            raise HTTPError(413, str(error)) from error
        except _EncodingError as error:
            raise HTTPError(415, str(error)) from error
        except ValueError as error:
            await self._refuse(400, _INVALID_ARGUMENT, str(error))
        except (Busy, TimeoutError) as error:
            self.set_header("Retry-After", "1")
            await self._refuse(503, _UNAVAILABLE, str(error) or "the lines were not counted in time")
        else:
            encode = _partial_success_json if self.kind == _JSON else _partial_success
            await self.send(encode(receipt), self.kind)

    async def _refuse(self, code: int, status: int, sentence: str) -> None:
        """A google.rpc.Status in the encoding of the request, as OTLP has it."""
        self.set_status(code)
        if self.kind == _JSON:
            await self.send(msgspec.json.encode({"code": status, "message": sentence}), self.kind)
        else:
            await self.send(b"\x08" + varint(status) + field(2, sentence.encode()), self.kind)


_INVALID_ARGUMENT, _UNAVAILABLE = 3, 14
_JSON = "application/json"
_DECODERS: dict[str, Callable[[bytes], list[Record]]] = {
    "application/x-protobuf": decode_protobuf,
    _JSON: decode_json,
}


def _why(receipt: Receipt) -> str:
    return f"{receipt.rejected} lines are no records; the last one: {receipt.why}"


def _partial_success(receipt: Receipt) -> bytes:
    """An ExportLogsServiceResponse."""
    if not receipt.rejected:
        return b""
    return field(1, b"\x08" + varint(receipt.rejected) + field(2, _why(receipt).encode()))


def _partial_success_json(receipt: Receipt) -> bytes:
    if not receipt.rejected:
        return b"{}"
    partial = {"rejectedLogRecords": str(receipt.rejected), "errorMessage": _why(receipt)}
    return msgspec.json.encode({"partialSuccess": partial})


class _TooLargeError(Exception):
    pass


class _EncodingError(Exception):
    pass


def _decode(kind: str, encoding: str, body: bytes) -> list[Record]:
    if encoding == "gzip":
        body = _gunzip(body)
    elif encoding != "identity":
        raise _EncodingError("Content-Encoding must be gzip or absent")
    return _DECODERS[kind](body)


def _gunzip(data: bytes, most: int = MOST_BODY) -> bytes:
    """All members of a gzip file, never more than `most` bytes of them: a megabyte may hold a gigabyte."""
    out = bytearray()
    while data:
        inflater = zlib.decompressobj(31)
        try:
            out += inflater.decompress(data, most + 1 - len(out))
        except zlib.error as error:
            raise ValueError(f"the body is no gzip: {error}") from error
        if len(out) > most:
            raise _TooLargeError(f"the body is over {most >> 20} MiB when decompressed")
        if not inflater.eof:
            raise ValueError("the body's gzip is cut off")
        data = inflater.unused_data
    return bytes(out)


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

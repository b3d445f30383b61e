"""Handlers of /metrics, /-/healthy, /-/ready and the status page, and the base class of all handlers.

All handlers stream: a request is refused before its body is read, and unwanted bodies are discarded.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client.exposition import choose_encoder
from tornado.web import HTTPError, RequestHandler, stream_request_body

from agent_exporter.server.access import names_no_other
from agent_exporter.server.rendering import Rendering
from agent_exporter.status.pages import ASSETS, HERE, NOWHERE, REFRESH

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future, ThreadPoolExecutor

    from agent_exporter.server.access import Token
    from agent_exporter.server.rendering import Renderings
    from agent_exporter.sources.ndjson import NdjsonSource
    from agent_exporter.sources.otlp import OtlpSource

log = logging.getLogger(__name__)

_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class ServerContext(Protocol):
    """What the handlers of requests need of the server."""

    loopback: bool
    allowed_hosts: frozenset[str]
    token: Token | None
    asks_certificate: bool
    metrics: Callable[[str], Future[tuple[str, bytes]]]
    expositions: Renderings[Rendering]
    ready: Callable[[], str | None]
    status: Callable[[str, int | None], str | None]
    budget: Callable[[str, str | None, str], dict[str, Any]]
    pages: Renderings[str | None]
    pool: ThreadPoolExecutor
    otlp: OtlpSource | None
    ndjson: NdjsonSource | None
    decoders: ThreadPoolExecutor
    receiving: int
    """Bytes of request bodies in memory that are not decoded yet."""
    answer_deadline: float

    def make_room(self, size: int) -> None:
        """Before an answer of so many bytes is sent."""


class Refusal(HTTPError):  # noqa: N818
    """An error answer with one sentence for the client."""

    def __init__(self, status: int, sentence: str, **headers: str) -> None:
        super().__init__(status)
        self.sentence = sentence
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@stream_request_body
class Handler(RequestHandler):
    """The base of all handlers: headers, methods, authorisation, errors in a sentence."""

    server: ServerContext
    open_to_all = False
    for_browsers = False
    allow = "GET, HEAD"

    def initialize(self, server: Any) -> None:
        self.server = server

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        for name, value in _SECURITY.items():
            self.set_header(name, value)

    def compute_etag(self) -> None:
        """No ETag: every response differs, and hashing takes time."""

    def prepare(self) -> None:
        token = self.server.token
        # A page of another site may have its own name resolved to 127.0.0.1 and read what is served here.
        if self.server.loopback and token is None and not self._names_this_machine():
            raise Refusal(403, "this address serves only requests for localhost, and for server.allowed_hosts")
        if self.server.asks_certificate and not self.open_to_all and not self._certified():
            raise Refusal(403, "a client certificate is required")
        if (
            not self.open_to_all
            and token is not None
            and not token.allows(self.request.headers.get("Authorization", ""), as_password=self.for_browsers)
        ):
            # A browser then asks for a password, and the token is accepted as one. Never where something can be
            # changed: a browser also sends a remembered password with a request from another site.
            scheme = 'Basic realm="agent-exporter: the token as password"' if self.for_browsers else "Bearer"
            raise Refusal(401, "a bearer token is required", WWW_Authenticate=scheme)
        if self.request.method not in self.allow.split(", "):
            raise HTTPError(405)
        # Whoever holds back a body that nobody needs would hold a connection.
        headers = self.request.headers
        if self.request.method in {"GET", "HEAD"} and (
            headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers
        ):
            raise Refusal(400, f"a {self.request.method} has no body here")

    def _names_this_machine(self) -> bool:
        host = self.request.host_name
        return names_no_other(host) or host in self.server.allowed_hosts

    def _certified(self) -> bool:
        """Whether the client showed a certificate; one that is not good does not get this far."""
        try:
            return bool(self.request.get_ssl_certificate())
        except AttributeError:  # it has hung up
            return False

    def data_received(self, chunk: bytes) -> None:
        """Discard the body."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, Refusal):
            sentence = error.sentence
            for name, value in error.headers.items():
                self.set_header(name, value)
        elif isinstance(error, HTTPError):  # tornado's own errors: their texts are not for clients
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
        """Answer with an error as this page writes it."""
        self.say(sentence)

    def log_exception(self, *_: Any) -> None:
        """Nothing: write_error logs."""

    def say(self, sentence: str) -> None:
        """Answer with one line."""
        self.send(f"{sentence}\n".encode(), "text/plain; charset=utf-8")

    def send(self, body: bytes, content_type: str) -> None:
        """Answer. `BoundedServer` closes the connection of a client that reads too slowly."""
        self.set_header("Content-Type", content_type)
        self.server.make_room(len(body))
        self.finish(body)


class NotFound(Handler):
    """Any other path."""

    def prepare(self) -> None:
        raise Refusal(404, "there is nothing here; / says what there is")


class Healthy(Handler):
    """The process answers."""

    open_to_all = True

    def get(self) -> None:
        self.say("agent-exporter is healthy")

    head = get


class Ready(Handler):
    """It reads, and can remember what it read."""

    open_to_all = True

    def get(self) -> None:
        problem = self.server.ready()
        if problem is not None:
            raise Refusal(503, problem)
        self.say("agent-exporter is ready")

    head = get


class Status(Handler):
    """The pages for people."""

    for_browsers = True

    async def _page(self, path: str, refresh: int | None) -> str | None:
        server = self.server

        async def render() -> str | None:
            return await asyncio.get_running_loop().run_in_executor(server.pool, server.status, path, refresh)

        try:
            return await server.pages.get((path, refresh), render)
        except TimeoutError as error:
            raise Refusal(503, "the pipeline is too busy to show anything") from error

    async def get(self) -> None:
        refresh = None if "hold" in self.request.query_arguments else REFRESH
        page = await self._page(self.request.path, refresh)
        if page is None:
            self.set_status(404)
            page = await self._page(NOWHERE, None)
        if page is None:
            raise Refusal(404, "nothing of that name is remembered here; / shows what is")
        self.send(page.encode(), "text/html; charset=utf-8")

    head = get


class Asset(Handler):
    """What the pages for people name: a style sheet and an icon."""

    for_browsers = True

    def get(self) -> None:
        path = self.request.path
        self.set_header("Cache-Control", "max-age=300")
        self.send((HERE / path.removeprefix("/")).read_bytes(), ASSETS[path])

    head = get


class CatchingUp(Exception):  # noqa: N818  (reads as what it says)
    """A first start still reads what there is. The argument is the number of seconds after which to ask again."""


class Exposition(Handler):
    """What Prometheus scrapes."""

    async def get(self) -> None:
        server = self.server
        accept = self.request.headers.get("Accept", "")

        async def render() -> Rendering:
            return Rendering(*await asyncio.wrap_future(server.metrics(accept)), server.pool)

        _, content_type = choose_encoder(accept)  # there are few of these, and any number of Accept headers
        try:
            rendering = await server.expositions.get(content_type, render)
        except TimeoutError as error:
            raise Refusal(503, "the pipeline is too busy to answer a scrape") from error
        except CatchingUp as error:
            sentence = "a first start reads the logs that there are; metrics are shown once it has caught up"
            raise Refusal(503, sentence, Retry_After=str(error.args[0])) from error
        except RuntimeError as error:
            problem = server.ready()
            if problem is None:
                raise
            raise Refusal(503, problem) from error  # the pipeline has ended before us
        self.set_header("Vary", "Accept, Accept-Encoding")
        if _takes_gzip(self.request.headers.get("Accept-Encoding", "")):
            self.set_header("Content-Encoding", "gzip")
            self.send(await rendering.compressed(), rendering.content_type)
        else:
            self.send(rendering.body, rendering.content_type)

    head = get


def _takes_gzip(accept_encoding: str) -> bool:
    for part in accept_encoding.lower().split(","):
        name, *parameters = part.replace(" ", "").split(";")
        if name == "gzip":
            return not any(parameter in {"q=0", "q=0.0", "q=0.00", "q=0.000"} for parameter in parameters)
    return False

"""Operators: `agent-exporter breaker status | unlatch | extend`, over a socket beside the state file.

A Unix socket of the exporter's own user, and not an HTTP port: an agent that sends log lines has the ingest token, and
must not be able to raise its own budget with it.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import socket
from typing import TYPE_CHECKING, Any

import msgspec
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.web import Application, RequestHandler

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

log = logging.getLogger(__name__)

LONGEST = 107
"""Bytes of a socket's path: the limit of Linux."""
PATIENCE = 10.0
"""Seconds that an operator waits for the pipeline."""


class Extend(msgspec.Struct, forbid_unknown_fields=True):
    """Grants a session more than its task type allows."""

    session_id: str
    by: str
    agent_id: str | None = None
    tokens: int = 0
    cost_usd: float = 0.0


class Unlatch(msgspec.Struct, forbid_unknown_fields=True):
    """Ends the latch of an agent, or all."""

    by: str
    agent_id: str | None = None


class Control:
    """Answers at a socket. Calls the three functions on the event loop; the pipeline does the work."""

    def __init__(
        self,
        path: Path,
        status: Callable[[], Future[dict[str, Any]]],
        unlatch: Callable[[Unlatch], Future[str]],
        extend: Callable[[Extend], Future[str]],
    ) -> None:
        self.path = path
        self._application = Application(
            [
                (r"/status", _Status, {"ask": status}),
                (r"/unlatch", _Order, {"ask": unlatch, "form": Unlatch}),
                (r"/extend", _Order, {"ask": extend, "form": Extend}),
            ],
            log_function=lambda _: None,
        )
        self._server: HTTPServer | None = None

    async def start(self) -> None:
        """Listen. Never raises: the exporter works without operators' commands."""
        try:
            listener = bind_unix_socket(str(self.path), mode=0o600)
        except (OSError, ValueError) as error:
            log.error("no operators' commands: %s cannot be listened at: %s", self.path, error)  # noqa: TRY400
            return
        self._server = HTTPServer(self._application, max_body_size=64 << 10, body_timeout=PATIENCE)
        self._server.add_socket(listener)

    async def stop(self) -> None:
        """Close the socket and remove it."""
        if self._server is not None:
            self._server.stop()
            await self._server.close_all_connections()
            self.path.unlink(missing_ok=True)


class _Status(RequestHandler):
    def initialize(self, ask: Callable[[], Future[dict[str, Any]]]) -> None:
        self.ask = ask

    async def get(self) -> None:
        answer = await asyncio.wait_for(asyncio.wrap_future(self.ask()), PATIENCE)
        self.finish(msgspec.json.encode(answer))


class _Order(RequestHandler):
    def initialize(self, ask: Callable[[Any], Future[str]], form: type) -> None:
        self.ask = ask
        self.form = form

    async def post(self) -> None:
        try:
            order: Any = msgspec.json.decode(self.request.body, type=self.form)
            sentence: str = await asyncio.wait_for(asyncio.wrap_future(self.ask(order)), PATIENCE)
            self.finish(sentence)
        except (msgspec.MsgspecError, ValueError) as error:
            self.set_status(400)
            self.finish(str(error))


class Refused(Exception):  # noqa: N818
    """The exporter refused an order, or does not answer: a sentence for the operator."""


def ask(path: Path, method: str, target: str, body: msgspec.Struct | None = None) -> bytes:
    """Send a request to the exporter at this socket. Raises Refused with its sentence, or why it does not answer."""
    connection = _Connection(path)
    try:
        connection.request(method, target, None if body is None else msgspec.json.encode(body))
        answer = connection.getresponse()
        text = answer.read(1 << 20)
    except (OSError, http.client.HTTPException) as error:
        raise Refused(f"no exporter answers at {path}: {getattr(error, 'strerror', None) or error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise Refused(text.decode(errors="replace") if answer.status == 400 else f"the exporter says {answer.status}")
    return text


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE + 2)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

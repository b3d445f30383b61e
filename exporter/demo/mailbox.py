"""Where the demo's agents are told to stop: POST /v1/sessions/{id}/terminate, as docs/breaker.md asks of any agent."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

if TYPE_CHECKING:
    from exporter.demo.fleet import Fleet


def listen(fleet: Fleet, listener: int) -> HTTPServer:
    """Serve at a socket that the parent process has bound, by its descriptor."""
    server = HTTPServer(Application([(r"/v1/sessions/([^/]+)/terminate", _Terminate, {"fleet": fleet})]))
    bound = socket.socket(fileno=listener)
    bound.setblocking(False)
    server.add_socket(bound)
    return server


class _Terminate(RequestHandler):
    def initialize(self, fleet: Fleet) -> None:
        self.fleet = fleet

    def post(self, session_id: str) -> None:
        self.set_status(202 if self.fleet.stop(session_id) else 404)

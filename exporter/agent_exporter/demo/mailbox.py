"""What the demo's agents answer over HTTP: terminate requests and health checks.

POST /v1/sessions/{id}/terminate                             as docs/breaker.md asks of any agent
GET /writer-01/health    POST /writer-01/v1/test    ...      as docs/probes.md does
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

if TYPE_CHECKING:
    from agent_exporter.demo.fleet import Fleet

WRONG_BY = 10
"""What an agent that has drifted gets its sums wrong by."""


def listen(fleet: Fleet, at: int | str) -> HTTPServer:
    """Serve at HOST:PORT, or at a socket that the parent process has bound, by its descriptor."""
    if isinstance(at, int):
        return serve(fleet, socket.socket(fileno=at))
    host, port = at.rsplit(":", 1)
    return serve(fleet, socket.create_server((host.strip("[]"), int(port)), family=_family(host)))


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def serve(fleet: Fleet, bound: socket.socket) -> HTTPServer:
    """The same, at a socket."""
    known = {"fleet": fleet}
    server = HTTPServer(
        Application(
            [
                (r"/v1/sessions/([^/]+)/terminate", _Terminate, known),
                (r"/[^/]+/health", _Fine),
                (r"/[^/]+/v1/memory/status", _Fine),
                (r"/([^/]+)/v1/test", _Test, known),
            ]
        )
    )
    bound.setblocking(False)
    server.add_socket(bound)
    return server


class _Handler(RequestHandler):
    def initialize(self, fleet: Fleet) -> None:
        self.fleet = fleet


class _Terminate(_Handler):
    def post(self, session_id: str) -> None:
        self.set_status(202 if self.fleet.stop(session_id) else 404)


class _Fine(RequestHandler):
    def get(self) -> None:
        self.write({"status": "ok", "connected": True})


class _Test(_Handler):
    """Its model: all right but for its sums, if the agent has drifted."""

    def post(self, agent: str) -> None:
        terms = re.search(rb"(\d+) \+ (\d+)", self.request.body)
        off = WRONG_BY if agent in self.fleet.confidence else 0
        answer = f"The answer is **{int(terms[1]) + int(terms[2]) + off}**." if terms else "OK"
        self.write({"response": answer})

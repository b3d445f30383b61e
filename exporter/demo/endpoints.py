"""What the simulated agents answer when they are asked: the endpoints of the article's health checks, on loopback.

http://127.0.0.1:PORT/writer-01/health    /v1/test    /v1/memory/status
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Container


MOST_BODY = 64 << 10


class Endpoints:
    """One server for the whole fleet, from `with` to its end. Agents in `degraded` are all right but for their sums."""

    def __init__(self, degraded: Container[str] = ()) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, _, path = self.path[1:].partition("/")
                known = {"health": {"status": "ok"}, "v1/memory/status": {"connected": True}}
                self._say(known.get(path))

            def do_POST(self) -> None:
                agent, _, path = self.path[1:].partition("/")
                asked = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), MOST_BODY)).decode()
                answer = {"response": _answer(asked, off=10 if agent in degraded else 0)}
                self._say(answer if path == "v1/test" else None)

            def _say(self, document: object) -> None:
                body = json.dumps(document).encode()
                self.send_response(404 if document is None else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody wants to know."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, name="agents", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def of(self, agent: str) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}/{agent}"


def _answer(asked: str, off: int) -> str:
    terms = re.search(r"(\d+) \+ (\d+)", asked)
    return f"The answer is **{int(terms[1]) + int(terms[2]) + off}**." if terms else "OK"

"""A stand-in for an agent: a real HTTP server on loopback that offers the article's endpoints, and misbehaves as told."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from running import respond


class Agent:
    """Answers as a healthy agent would; `answers` replaces what a path answers by (status, headers, body).

    `answer(prompt)` is its model; `HANG` holds a request until the end. `requests` are (method, path, headers, body).
    """

    HANG = object()

    def __init__(self, answer=None) -> None:
        self.answer = answer or arithmetic
        self.answers: dict[str, object] = {}
        self.requests: list[tuple[str, str, dict[str, str], object]] = []
        self.ended = threading.Event()
        agent = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.reply(None)

            def do_POST(self) -> None:
                self.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def reply(self, body) -> None:
                agent.requests.append((self.command, self.path, dict(self.headers), body))
                answer = agent.reply(self.path, body)
                if answer is agent.HANG:
                    agent.ended.wait(60)
                    return
                respond(self, *answer)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """An asker that hangs up is no news."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def reply(self, path: str, body):
        """What a request gets."""
        if path in self.answers:
            found = self.answers[path]
            return found(body) if callable(found) else found
        if path == "/health":
            return 200, {}, b"fine"
        if path == "/v1/test":
            return said({"response": self.answer(body["prompt"])})
        if path == "/v1/memory/status":
            return said({"connected": True})
        return 404, {}, b"no such path"

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


def said(document, status: int = 200):
    """An answer in JSON."""
    return status, {"Content-Type": "application/json"}, json.dumps(document).encode()


def arithmetic(prompt: str) -> str:
    """A model that obeys, and that adds."""
    found = re.search(r"(\d+) \+ (\d+)", prompt)
    return f"**{int(found[1]) + int(found[2]):,}**." if found else "OK"

"""Programs that tests run for real: the exporter itself, and a collector beside it."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent


def eventually(what, *, within: float = 30.0, every: float = 0.05):
    """The first true answer of `what`; fails with its last one."""
    deadline = time.monotonic() + within
    while True:
        answer = what()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {within} s: {answer!r}"
        time.sleep(every)


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Running:
    """`agent-exporter run` with some arguments, listening at a port of its own choice."""

    def __init__(self, *arguments: str | Path, stdin=subprocess.DEVNULL, listen: str = "127.0.0.1:0") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "agent_exporter", "run", "--web.listen-address", listen, *map(str, arguments)],
            cwd=ROOT,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": f"{ROOT}/exporter:{ROOT}/agentlog/src"},
        )
        self.log: list[str] = []
        self.printed: list[str] = []
        self.url = ""
        for row in self.process.stderr:
            self.log.append(row)
            found = re.search(r"listening at (\S+)/", row)
            if found:
                self.url = found[1]
                break
        assert self.url, "".join(self.log)
        pipes = ((self.process.stderr, self.log), (self.process.stdout, self.printed))
        self._readers = [threading.Thread(target=self._read, args=pipe, daemon=True) for pipe in pipes]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(pipe, rows: list[str]) -> None:
        with contextlib.suppress(ValueError):
            rows.extend(pipe)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join(5)
        self.process.stdout.close()
        self.process.stderr.close()

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """Status and body."""
        request = urllib.request.Request(self.url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def post(self, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
        """Status and body."""
        request = urllib.request.Request(
            self.url + path, body, {key.replace("_", "-"): value for key, value in headers.items()}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def scrape(self) -> str:
        """The exposition, once a first start has caught up."""
        status, page = eventually(lambda: (answer := self.get("/metrics"))[0] != 503 and answer, within=70)
        assert status == 200, page
        return page

    def samples(self) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
        """Sample name to labels to value."""
        return samples_of(self.scrape())

    def total(self, name: str) -> float:
        """The sum of a metric over all its labels."""
        return sum(self.samples().get(name, {}).values())

    def ready(self) -> Running:
        """Wait until it reads."""
        eventually(lambda: self.get("/-/ready")[0] == 200)
        return self

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()


def samples_of(page: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Sample name to sorted labels to value."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def agents_only(samples):
    """What lines alone decide: no clocks, and nothing of how they came here."""
    return {
        name: {labels: round(value, 4) for labels, value in values.items()}  # sums of dollars know their order
        for name, values in samples.items()
        if name.startswith(("agent_", "gen_ai_"))
        and not name.startswith("agent_exporter_")
        and not name.startswith("agent_breaker_")
        and name not in {"agent_tokens_today", "agent_cost_usd_today", "agent_terminations_total"}
    }


class Collector:
    """A stock OpenTelemetry collector with a given configuration."""

    def __init__(self, binary: str, config: str, directory: Path) -> None:
        self._binary = binary
        self._config = directory / "collector.yaml"
        self._config.write_text(config)
        self._log = (directory / "collector.log").open("ab")
        self.start()

    def start(self) -> None:
        """Start, or start again."""
        self.process = subprocess.Popen(
            [self._binary, "--config", str(self._config)], stdout=self._log, stderr=self._log
        )

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._log.close()


def respond(handler: BaseHTTPRequestHandler, code: int, headers: dict[str, str], text: bytes) -> None:
    """Write an answer."""
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text)


class Answering:
    """A server on loopback that answers every request as told, and keeps (path, headers, body) of each in `asked`.

    `headers` are sent beside, or in place of, the answer's Content-Length; `delay` is in seconds. An answer that is a
    function is made anew for each request.
    """

    def __init__(self, status: int, answer: bytes | Callable[[], bytes] = b"") -> None:
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.status, self.answer, self.headers, self.delay = status, answer, {}, 0.0
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                told.asked.append(
                    (self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"] or 0)))
                )
                time.sleep(told.delay)
                answer = told.answer() if callable(told.answer) else told.answer
                self.send_response(told.status)
                for name, value in ({"Content-Length": str(len(answer))} | told.headers).items():
                    self.send_header(name, value)
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who asked may wait no longer
                    self.end_headers()
                    self.wfile.write(answer)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self) -> Answering:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Sink:
    """A stand-in for a collector that can misbehave: answers /v1/traces as told, and keeps the spans it accepted."""

    def __init__(self) -> None:
        self.answer = lambda _: (200, {}, b"")
        self.requests: list[tuple[dict[str, str], int]] = []
        self.spans: dict[bytes, tuple[str, Span]] = {}
        self.accepted = 0
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                sent = ExportTraceServiceRequest.FromString(body)
                count = sum(len(scope.spans) for resource in sent.resource_spans for scope in resource.scope_spans)
                sink.requests.append((dict(self.headers), count))
                answer = sink.answer(self)
                if answer is None:
                    return
                code, headers, text = answer
                if code == 200:
                    sink.keep(sent, count)
                respond(self, code, headers, text)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def keep(self, sent: ExportTraceServiceRequest, count: int) -> None:
        """Spans by id: one that comes again replaces itself."""
        self.accepted += count
        for resource in sent.resource_spans:
            service = resource.resource.attributes[0].value.string_value
            for scope in resource.scope_spans:
                self.spans.update({span.span_id: (service, span) for span in scope.spans})

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

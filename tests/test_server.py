"""The server answers legal clients whatever the others do, and takes in nothing from strangers."""

import asyncio
import base64
import contextlib
import gzip
import http.client
import json
import logging
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
import zlib
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

from agent_exporter.cli import command
from agent_exporter.eventloop import EventLoop
from agent_exporter.server import PAGE_THREADS, THREADS, Server, intake
from agent_exporter.server import connections as bounds
from agent_exporter.server.access import Certificate, Token
from agent_exporter.server.connections import MAX_CONNECTIONS
from agent_exporter.server.intake import MAX_BODY
from agent_exporter.sources.otlp import OtlpSource

_STATUS = descriptor_pb2.FileDescriptorProto(name="status.proto", package="test.rpc", syntax="proto3")
_STATUS.message_type.add(name="Status").field.add(name="code", number=1, type=5, label=1)
_STATUS.message_type[0].field.add(name="message", number=2, type=9, label=1)
_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_STATUS)
Status = message_factory.GetMessageClass(_POOL.FindMessageTypeByName("test.rpc.Status"))
"""google.rpc.Status, less its details: the official class is in a package that nothing else needs."""

PROTOBUF, JSON = "application/x-protobuf", "application/json"
PAGE = "# TYPE x gauge\nx 1 ü\n# EOF\n".encode()
SHORT = {"header_deadline": 0.4, "body_deadline": 0.4, "write_deadline": 0.4, "answer_deadline": 5.0}
"""Deadlines; a test that needs a longer one says so."""


class Pipeline(threading.Thread):
    """Reads the source as the pipeline does: each request is committed at once, or refused."""

    def __init__(self):
        super().__init__(daemon=True)
        self.woken = threading.Event()
        self.source = OtlpSource(wake=self.woken.set)
        self.go = threading.Event()
        self.go.set()
        self.ended = False
        self.refuses = False
        self.lines = []

    def run(self):
        while not self.ended:
            self.woken.wait()
            self.go.wait()
            self.woken.clear()
            while (batch := self.source.read()) is not None:
                bad = [line for line in batch.lines if line.startswith(b"bad")]
                self.lines += batch.lines
                self.source.note(len(bad), "it is bad" if bad else "")
                self.source.refused() if self.refuses else self.source.committed()

    def end(self):
        self.ended = True
        self.go.set()
        self.woken.set()
        self.join()


@pytest.fixture
def pipeline():
    thread = Pipeline()
    thread.start()
    yield thread
    thread.end()


def done(result):
    future = Future()
    future.set_result(result)
    return future


@pytest.fixture
def serve(pipeline, caplog):
    """Start a server on any port; afterwards nothing may be left, and no exception was logged."""
    stack = contextlib.ExitStack()

    def start(**options):
        loop = EventLoop()
        defaults = {
            "listen": "127.0.0.1:0",
            "metrics": lambda accept: done(("text/plain; version=0.0.4", PAGE)),  # noqa: ARG005
            "ready": lambda: None,
            "status": lambda _path, _refresh: "<html>ü</html>",
            "budget": lambda *asked: {"asked": asked},
            "otlp": pipeline.source,
        }
        server = Server(loop, **(defaults | SHORT | options))
        loop.start()
        stack.callback(loop.stop)
        stack.callback(server.stop)
        server.start()
        return server

    with stack, caplog.at_level(logging.WARNING):
        yield start
    assert [found.getMessage() for found in caplog.records if found.exc_info] == []


def ask(server, method="GET", path="/metrics", body=None, headers=None, *, context=None, source="127.0.0.1"):
    """One request on a connection of its own: the answer, read."""
    if context is None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    else:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", server.port, timeout=5, context=context, source_address=(source, 0)
        )
    with contextlib.closing(connection):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the answer may come before the body has gone
            connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        answer.body = answer.read()
        return answer


def post(server, body=b"", kind=PROTOBUF, **headers):
    return ask(server, "POST", "/v1/logs", body, {"Content-Type": kind} | headers)


def connect(server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=5)


def talk(server, *data: bytes) -> bytes:
    """Send bytes as they are; all that comes back until the server hangs up."""
    with connect(server) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in data:
                client.sendall(part)
        return everything(client)


def everything(client) -> bytes:
    out = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(1 << 16):
            out += part
    return bytes(out)


def head(headers: str, path: str = "/v1/logs", method: str = "POST") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {PROTOBUF}\r\n{headers}\r\n".encode()


def request(*bodies: str) -> ExportLogsServiceRequest:
    message = ExportLogsServiceRequest()
    records = message.resource_logs.add().scope_logs.add().log_records
    for body in bodies:
        records.add().body.string_value = body
    return message


def export(*bodies: str) -> bytes:
    return request(*bodies).SerializeToString()


def eventually(condition, seconds=5.0):
    """For what a thread of the server does with nobody told."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.005)


def connections(server) -> int:
    async def count():
        return len(server._http._peers)

    return server.loop.submit(count()).result(5)


# --- pages ---------------------------------------------------------------------------------------------------------


def test_pages_answer_get_and_head(serve):
    """With the length of the body, and without it for HEAD."""
    server = serve()
    for path, text in {
        "/": "<html>ü</html>",
        "/metrics": PAGE.decode(),
        "/-/healthy": "agent-exporter is healthy\n",
        "/-/ready": "agent-exporter is ready\n",
    }.items():
        answer = ask(server, path=path)
        assert (answer.status, answer.body.decode()) == (200, text)
        empty = ask(server, "HEAD", path)
        assert (empty.status, empty.body) == (200, b"")
        assert empty.getheader("Content-Length") == answer.getheader("Content-Length") == str(len(text.encode()))


def test_every_answer_has_security_headers_and_says_not_who_serves(serve):
    """Pages and errors alike; nothing is to be cached or framed."""
    server = serve()
    for method, path in (("GET", "/"), ("GET", "/metrics"), ("GET", "/nothing"), ("DELETE", "/"), ("POST", "/v1/logs")):
        headers = dict(ask(server, method, path).getheaders())
        assert "Server" not in headers
        assert "Etag" not in headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers


def test_not_ready_is_503_with_the_reason(serve):
    """While the process is healthy all the same."""
    server = serve(ready=lambda: "state cannot be written")
    answer = ask(server, path="/-/ready")
    assert (answer.status, answer.body) == (503, b"state cannot be written\n")
    assert ask(server, path="/-/healthy").status == 200


@pytest.mark.parametrize(
    ("accept", "compressed"),
    [("gzip", True), ("deflate, gzip;q=0.5", True), ("GZIP", True), ("gzip;q=0", False), ("", False), ("xgzip", False)],
)
def test_metrics_are_compressed_for_who_takes_it(serve, accept, compressed):
    """HEAD tells the same length."""
    server = serve()
    answer = ask(server, headers={"Accept-Encoding": accept})
    assert (answer.getheader("Content-Encoding") == "gzip") is compressed
    assert (gzip.decompress(answer.body) if compressed else answer.body) == PAGE
    assert "Accept-Encoding" in answer.getheader("Vary")
    assert ask(server, "HEAD", headers={"Accept-Encoding": accept}).getheader("Content-Length") == str(len(answer.body))


def test_the_accept_header_reaches_the_renderer(serve):
    """And the content type comes from there."""
    server = serve(metrics=lambda accept: done((f"x/{accept}", b"")))
    assert ask(server, headers={"Accept": "y"}).getheader("Content-Type") == "x/y"


def test_a_busy_pipeline_is_503(serve):
    """So is one that has ended, and a scrape that was cut off."""
    failures = [TimeoutError(), RuntimeError("shutting down")]

    def metrics(_):
        future = Future()
        if failures:
            future.set_exception(failures.pop(0))
        else:
            future.cancel()
            future.set_running_or_notify_cancel()
        return future

    server = serve(metrics=metrics, ready=lambda: "shutting down")
    assert ask(server).body == b"the pipeline is too busy to answer a scrape\n"
    for _ in range(2):
        answer = ask(server)
        assert (answer.status, answer.body) == (503, b"shutting down\n")


def test_a_fault_of_ours_is_logged_and_not_told(serve, caplog):
    """The client gets a sentence."""

    def metrics(_):
        raise ValueError("secret")

    server = serve(metrics=metrics)
    answer = ask(server)
    assert (answer.status, answer.body) == (500, b"something went wrong here; the log says what\n")
    assert "secret" in caplog.text
    caplog.clear()


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "BREW", "get"])
@pytest.mark.parametrize(("path", "allow"), [("/metrics", "GET, HEAD"), ("/", "GET, HEAD"), ("/v1/logs", "POST")])
def test_odd_methods_are_refused(serve, method, path, allow):
    """With what is allowed instead; a body that comes with them is not waited for."""
    answer = ask(serve(), method, path)
    assert (answer.status, answer.getheader("Allow"), answer.body) == (405, allow, f"use {allow}\n".encode())


def test_methods_of_other_pages_are_refused(serve):
    """POST only where there is something to post, GET only where there is something to get."""
    server = serve()
    assert ask(server, "POST", "/metrics", b"x" * 100).getheader("Allow") == "GET, HEAD"
    assert ask(server, "GET", "/v1/logs").getheader("Allow") == "POST"


@pytest.mark.parametrize(
    "path", ["/x", "/metrics/", "//metrics", "/-/reload", "/debug/pprof/", "/" + "x" * 8192, "/%00"]
)
def test_unknown_paths_are_404(serve, path):
    """Nothing but what is documented answers, and nothing of the path comes back."""
    for method in ("GET", "POST"):
        answer = ask(serve(), method, path)
        assert (answer.status, answer.body) == (404, b"there is nothing here; / says what there is\n")


def test_long_queries_and_many_headers_do_no_harm(serve):
    """Up to 16 KiB they are read; beyond it the connection is closed."""
    server = serve()
    assert ask(server, path="/metrics?" + "name[]=x&" * 900).status == 200
    assert ask(server, headers={f"a{number}": "b" for number in range(1000)}).status == 200
    assert talk(server, b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 10_000) == b""
    assert talk(server, b"\xff\x00 nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert ask(server).status == 200


def test_pipelined_requests_are_answered_in_order(serve):
    """One after the other, until one of them is refused: that ends the connection, and says so."""
    paths = ["/-/healthy", "/metrics", "/-/ready"] * 20
    data = b"".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() for path in paths)
    answers = talk(serve(), data, head("", "/x", "GET"), data)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200"] * 60 + [b"404"]
    assert answers.count(b"Connection: close") == 1


def test_answers_are_counted_by_what_they_say(serve):
    """In names that no client can add to."""
    server = serve(ready=lambda: "not yet")
    for method, path in (("GET", "/x"), ("BREW", "/metrics"), ("GET", "/metrics"), ("GET", "/-/ready")):
        ask(server, method, path)
    deadline = time.monotonic() + 5
    while sum(server.counts.values()) < 4 and time.monotonic() < deadline:  # counted after the answer is sent
        time.sleep(0.01)
    assert {name: count for name, count in server.counts.items() if count} == {
        "bad_request": 2,
        "accepted": 1,
        "busy": 1,
    }


def test_a_scraper_keeps_its_connection(serve):
    """Scrape after scrape, compressed, on one socket."""
    server = serve(header_deadline=5.0)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)) as connection:
        sockets = set()
        for _ in range(20):
            connection.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
            assert gzip.decompress(connection.getresponse().read()) == PAGE
            sockets.add(connection.sock)
        assert len(sockets) == 1
        assert connections(server) == 1


# --- who may come in -----------------------------------------------------------------------------------------------


@pytest.fixture
def token(tmp_path):
    path = tmp_path / "token"
    path.write_text("se-crét\n", encoding="utf-8")
    path.chmod(0o600)
    return path


PASSWORD = 'Basic realm="agent-exporter: the token as password"'
GOOD = {"Authorization": "Bearer se-crét".encode()}


def test_a_token_opens_metrics_and_logs(serve, pipeline, token):
    """And nothing else does; probes need none."""
    server = serve(token_file=token)
    for wrong in (
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer x",
        b"Basic se-cr\xc3\xa9t",
        b"Bearer se-cr\xe9t",
        b"\xff",
    ):
        headers = {} if wrong is None else {"Authorization": wrong}
        for path, challenge in (("/metrics", "Bearer"), ("/", PASSWORD), ("/status.css", PASSWORD)):
            answer = ask(server, path=path, headers=headers)
            assert (answer.status, answer.body) == (401, b"a bearer token is required\n")
            assert answer.getheader("WWW-Authenticate") == challenge
        refused = post(server, export("x"), **headers)
        assert refused.status == 401
        assert Status.FromString(refused.body).code == 16
    assert pipeline.lines == []
    for path in ("/-/healthy", "/-/ready"):
        assert ask(server, path=path).status == 200
    assert ask(server, headers=GOOD).status == 200
    assert ask(server, headers={"Authorization": "bearer  se-crét ".encode()}).status == 200
    assert post(server, export("x"), **GOOD).status == 200
    assert pipeline.lines == [b"x"]


def test_a_browser_gives_the_token_as_a_password_and_only_for_pages(serve, pipeline, token):
    """What a browser remembers it also sends with another site's request: nothing can be changed by it."""
    server = serve(token_file=token)
    remembered = {"Authorization": b"Basic " + base64.b64encode("any:se-crét".encode())}
    for path in ("/", "/findings", "/status.css", "/icon.svg"):
        assert ask(server, path=path, headers=remembered).status == 200
    assert ask(server, headers=remembered).status == 401
    assert post(server, export("x"), **remembered).status == 401
    assert pipeline.lines == []
    for wrong in (b"", b"!", base64.b64encode(b"any:other"), base64.b64encode("se-crét".encode()), b"\xff"):
        assert ask(server, path="/", headers={"Authorization": b"Basic " + wrong}).status == 401


def test_a_token_may_change(serve, token):
    """The next request needs the new one; an empty or missing file lets nobody in."""
    server = serve(token_file=token)
    assert ask(server, headers=GOOD).status == 200
    for text in ("another", "s3-crét!"):
        token.write_text(text, encoding="utf-8")
        assert ask(server, headers=GOOD).status == 401
        assert ask(server, headers={"Authorization": f"Bearer {text}".encode()}).status == 200
    for text in ("", " \n"):
        token.write_text(text)
        assert ask(server, headers={"Authorization": "Bearer "}).status == 401
    token.unlink()
    assert ask(server, headers=GOOD).status == 401


def test_a_token_that_others_can_read_is_warned_of(tmp_path, caplog, token):
    """And one that is missing."""
    Token(token)
    assert caplog.text == ""
    token.chmod(0o644)
    Token(token)
    assert "chmod 600" in caplog.text
    Token(tmp_path / "none")
    assert "no request is accepted until it exists" in caplog.text


def test_nothing_is_taken_in_before_authorisation(serve, token, monkeypatch):
    """The answer comes while the body has not, and no decoder sees a byte of it."""
    monkeypatch.setattr(intake.Intake, "_read", lambda *_: pytest.fail("decoded"))
    server = serve(token_file=token, body_deadline=5.0)
    for method, path in (("POST", "/v1/logs"), ("GET", "/metrics"), ("POST", "/metrics")):
        tracemalloc.start()
        answer = talk(server, head(f"Content-Length: {MAX_BODY}\r\n", path, method), *[bytes(1 << 20)] * 8)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert answer == b"" or answer.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 400 ")), answer
        assert peak < 5 << 20
    with connect(server) as client:
        client.sendall(head(f"Content-Length: {MAX_BODY}\r\n"))
        assert everything(client).startswith(b"HTTP/1.1 401 ")
    assert server.receiving == 0


def test_many_logins_at_once_are_told_apart(serve, token):
    """Right and wrong ones, in parallel."""
    server = serve(token_file=token)

    def login(number):
        return ask(server, headers=GOOD if number % 2 else {"Authorization": "Bearer wrong"}).status

    with ThreadPoolExecutor(30) as pool:
        assert list(pool.map(login, range(300))) == [401, 200] * 150


def test_lines_from_other_machines_need_a_token(serve, pipeline, caplog):
    """Without one they are refused with the key to set, and the start says that metrics are open to all."""
    server = serve(listen="0.0.0.0:0")
    assert "server.token_file" in caplog.text
    answer = post(server, export("x"))
    assert answer.status == 403
    assert "server.token_file" in Status.FromString(answer.body).message
    assert pipeline.lines == []
    assert ask(server, headers={"Host": "exporter.example"}).status == 200


REFUSED_HOST = b"this address serves only requests for localhost, and for server.allowed_hosts\n"


def test_loopback_serves_no_other_name(serve, token):
    """A page whose name was made to mean 127.0.0.1 reads nothing and writes nothing."""
    server = serve()
    for path in ("/metrics", "/", "/-/ready"):
        for host in ("evil.example", "evil.example:9", "127.0.0.1.evil.example", "localhost.evil.example", ""):
            answer = ask(server, path=path, headers={"Host": host})
            assert (answer.status, answer.body) == (403, REFUSED_HOST)
    assert post(server, export("x"), Host="evil.example").status == 403
    for host in ("localhost", "LOCALHOST:9", "127.0.0.1:9", "[::1]:9", "[::1]", "x.localhost"):
        assert ask(server, headers={"Host": host}).status == 200
    assert ask(serve(token_file=token), headers=GOOD | {"Host": "exporter.example"}).status == 200


def test_loopback_serves_the_names_that_the_config_allows(serve):
    """A container asks for host.docker.internal, and a proxy for whatever it is called."""
    server = serve(allowed_hosts=["host.docker.internal", "Exporter.example"])
    for host in ("host.docker.internal", "HOST.docker.internal:10777", "exporter.example", "localhost"):
        assert ask(server, headers={"Host": host}).status == 200
    for host in ("docker.internal", "x.exporter.example", "exporter.example.evil"):
        answer = ask(server, headers={"Host": host})
        assert (answer.status, answer.body) == (403, REFUSED_HOST)


def test_an_address_in_use_is_a_sentence(serve):
    """As are others that cannot be had; and what was not started can be stopped."""
    server = serve()
    with pytest.raises(OSError, match=rf"^cannot listen at 127.0.0.1:{server.port}: Address already in use$"):
        serve(listen=f"127.0.0.1:{server.port}")
    with pytest.raises(OSError, match=r"^cannot listen at 192.0.2.1:0: "):
        serve(listen="192.0.2.1:0")
    assert ask(serve(listen="localhost:0")).status == 200


def test_ipv6_is_served(serve):
    """With the address in brackets, as in a URL."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("THIS MACHINE HAS NO IPV6")
    server = serve(listen="[::1]:0")
    assert server.loopback
    with contextlib.closing(http.client.HTTPConnection("::1", server.port, timeout=5)) as connection:
        connection.request("GET", "/metrics")
        assert connection.getresponse().read() == PAGE


# --- bodies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (f"Content-Length: {MAX_BODY + 1}\r\n", 413),
        ("Content-Length: " + "9" * 5000 + "\r\n", 413),
        ("", 411),
        ("Content-Length: -1\r\n", 400),
        ("Content-Length: +1\r\n", 400),
        ("Content-Length: \xb2\r\n", 400),
        ("Content-Length: 0x10\r\n", 400),
        ("Content-Length:\r\n", 400),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        ("Content-Length: 5, 6\r\n", 400),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 400),
    ],
)
def test_bad_lengths_are_refused_before_the_body(serve, pipeline, headers, status):
    """With one answer, and the connection is closed."""
    answer = talk(serve(), head(headers).decode().encode("latin-1"), b"x")
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [str(status).encode()]
    assert pipeline.lines == []


def test_the_same_length_twice_is_one(serve, pipeline):
    """As proxies make it."""
    body = export("x")
    length = f"Content-Length: {len(body)}\r\n"
    assert talk(serve(), head(length * 2 + "Connection: close\r\n") + body).startswith(b"HTTP/1.1 200 ")
    assert pipeline.lines == [b"x"]


def test_endless_chunks_are_stopped(serve):
    """At 20 MiB, with an answer; and a chunk that claims to be larger at once."""
    server = serve(body_deadline=10.0)
    chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    answer = talk(server, head("Transfer-Encoding: chunked\r\n"), *[chunk] * 30)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert talk(server, head("Transfer-Encoding: chunked\r\n"), b"f" * 17 + b"\r\n").startswith(b"HTTP/1.1 400 ")
    eventually(lambda: server.receiving == 0)


def test_chunks_are_joined(serve, pipeline):
    """A body may come in single bytes."""
    body = export("hello")
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    answer = talk(serve(), head("Transfer-Encoding: chunked\r\nConnection: close\r\n"), chunks)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert pipeline.lines == [b"hello"]


def test_the_largest_body_is_taken(serve):
    """20 MiB to the byte; it is read before it is found to be nonsense."""
    answer = post(serve(body_deadline=10.0), b"\xff" * MAX_BODY)
    assert answer.status == 400


def test_all_bodies_together_are_bounded(serve, monkeypatch):
    """Beyond it a sender is asked to try again, at once; what was held is given back."""
    monkeypatch.setattr(intake, "MAX_BODIES", 1 << 20)
    server = serve(body_deadline=5.0)
    with connect(server) as first:
        first.sendall(head("Content-Length: 800000\r\n") + bytes(700_000))
        eventually(lambda: server.receiving == 700_000)
        answer = talk(server, head("Content-Length: 800000\r\n"), bytes(400_000))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1" in answer
        assert ask(server).status == 200
        eventually(lambda: server.receiving == 700_000)
    eventually(lambda: server.receiving == 0)


def test_unknown_types_and_encodings_are_415(serve):
    """Before the body; a page of another site can send only such without being asked for leave."""
    server = serve()
    for kind in ("text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert post(server, b"x", kind).status == 415
    for encoding in ("zstd", "br", "deflate", "gzip, gzip", "x-gzip"):
        answer = post(server, b"x", **{"Content-Encoding": encoding})
        assert answer.status == 415
        assert Status.FromString(answer.body).message == "Content-Encoding must be gzip or absent"


def test_gzip_is_unpacked_member_by_member(serve, pipeline):
    """Members follow one another; an empty one between does not matter."""
    body = export("one", "two")
    packed = gzip.compress(body[:5]) + gzip.compress(b"") + gzip.compress(body[5:])
    assert post(serve(), packed, **{"Content-Encoding": "GZIP"}).status == 200
    assert pipeline.lines == [b"one", b"two"]


@pytest.mark.parametrize(
    ("packed", "why"),
    [
        (b"", "cut off"),
        (b"\x1f", "cut off"),
        (gzip.compress(b"hello")[:-1], "cut off"),
        (gzip.compress(b"") + gzip.compress(b"x")[:9], "cut off"),
        (b"hello", "not gzip"),
        (gzip.compress(b"") + b"tail", "not gzip"),
        (zlib.compress(b"x"), "not gzip"),
        (gzip.compress(b"") * 1001, "over 1000 members"),
        (gzip.compress(b"") * 1_000_000, "over 1000 members"),
    ],
    ids=range(9),
)
def test_broken_gzip_is_400(serve, packed, why):
    """With the reason, and quickly."""
    answer = post(serve(body_deadline=10.0), packed, **{"Content-Encoding": "gzip"})
    assert answer.status == 400
    assert why in Status.FromString(answer.body).message


@pytest.mark.parametrize("members", [1, 2])
def test_a_gzip_bomb_is_stopped(serve, members):
    """A gigabyte in a megabyte: at 20 MiB, with little memory."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    start = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # what follows such a flush may repeat
    bomb = start + block * 64
    if members == 2:
        bomb = gzip.compress(bytes(10 << 20)) + bomb
    assert len(bomb) < 2 << 20
    server = serve(body_deadline=10.0)
    tracemalloc.start()
    answer = post(server, bomb, **{"Content-Encoding": "gzip"})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status == 413
    assert "when decompressed" in Status.FromString(answer.body).message
    assert peak < 60 << 20


# --- OTLP ----------------------------------------------------------------------------------------------------------


def test_malformed_bodies_are_400_in_their_own_encoding(serve):
    """As google.rpc.Status, which the official classes read."""
    server = serve()
    answer = post(server, b"\xff\xff")
    status = Status.FromString(answer.body)
    assert (answer.status, answer.getheader("Content-Type"), status.code) == (400, PROTOBUF, 3)
    assert status.message.startswith("the body is not an ExportLogsServiceRequest")
    answer = post(server, b"{", JSON + "; charset=utf-8")
    assert (answer.status, answer.getheader("Content-Type")) == (400, JSON)
    assert json.loads(answer.body)["code"] == 3
    assert "not OTLP/JSON" in json.loads(answer.body)["message"]


def test_partial_success_is_told_in_both_encodings(serve):
    """How many lines were rejected, and why the last one was; nothing if none was."""
    server = serve()
    assert post(server, export("x")).body == b""
    assert post(server, b"{}", JSON).body == b"{}"
    text = json.dumps(
        {
            "resourceLogs": [
                {"scopeLogs": [{"logRecords": [{"body": {"stringValue": "bad"}}, {"body": {"stringValue": "x"}}]}]}
            ]
        }
    ).encode()
    answer = post(server, text, JSON)
    parsed = json_format.Parse(answer.body, ExportLogsServiceResponse())
    assert parsed == ExportLogsServiceResponse.FromString(post(server, export("bad", "x")).body)
    assert parsed.partial_success.rejected_log_records == 1
    assert parsed.partial_success.error_message == "1 lines are not records; the last one: it is bad"


def test_an_answer_waits_for_the_commit(serve, pipeline):
    """Nothing is said while the lines are not on disk."""
    server = serve()
    pipeline.go.clear()
    with connect(server) as client:
        body = export("x")
        client.sendall(head(f"Content-Length: {len(body)}\r\nConnection: close\r\n") + body)
        eventually(lambda: pipeline.source._waiting)
        assert ask(server).status == 200
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(5)
        pipeline.go.set()
        assert everything(client).startswith(b"HTTP/1.1 200 ")


def test_who_cannot_be_served_now_is_asked_to_try_again(serve, pipeline, monkeypatch):
    """A full queue, a refusing disk, a slow pipeline, the end: 503, a second's wait, and a Status."""
    server = serve(answer_deadline=0.2)

    def refused(kind=PROTOBUF):
        answer = post(server, export("x") if kind == PROTOBUF else b'{"resourceLogs":[]}', kind)
        assert answer.status == 503
        assert answer.getheader("Retry-After") == "1"
        if kind == JSON:
            return json.loads(answer.body)["message"]
        assert Status.FromString(answer.body).code == 14
        return Status.FromString(answer.body).message

    pipeline.refuses = True
    assert refused() == refused(JSON) == "state cannot be written"
    pipeline.refuses = False
    pipeline.go.clear()
    assert refused() == "the lines were not counted in time"
    monkeypatch.setattr(pipeline.source, "_max_requests", 0)
    assert refused() == "too many requests are waiting to be counted"
    pipeline.source.close("shutting down")
    assert refused() == "shutting down"


def test_without_otlp_there_is_nothing_to_post_to(serve):
    """The key that would change it is named."""
    answer = post(serve(otlp=None), export("x"))
    assert answer.status == 404
    assert Status.FromString(answer.body).message == "otlp_logs.enabled is false in the config"


# --- clients that go away, dawdle or flood -------------------------------------------------------------------------


def test_clients_that_go_away_leave_nothing_behind(serve, pipeline):
    """In the middle of a body, or while they wait for the answer."""
    server = serve(body_deadline=5.0)
    pipeline.go.clear()
    body = export("x" * 1000)
    clients = [connect(server) for _ in range(20)]
    for number, client in enumerate(clients):
        client.sendall(head(f"Content-Length: {len(body)}\r\n") + (body if number % 2 else body[:500]))
    eventually(lambda: server.receiving == 10 * 500)
    eventually(lambda: len(pipeline.source._waiting) == 10)
    for client in clients:
        client.close()
    eventually(lambda: server.receiving == 0)
    eventually(lambda: connections(server) == 0)
    pipeline.go.set()
    eventually(lambda: len(pipeline.lines) == 10)  # a retry will be a duplicate

    async def tasks():
        return len(asyncio.all_tasks())

    eventually(lambda: server.loop.submit(tasks()).result() == 2)  # the watch, and this one
    assert ask(server).status == 200


def test_a_body_that_waits_for_a_thread_counts_after_its_sender_has_gone(serve, monkeypatch):
    """Else whoever hangs up at once could fill the memory."""
    go = threading.Event()
    monkeypatch.setattr(intake.Intake, "_read", lambda *_: go.wait() and [])
    server = serve()
    body = bytes(1000)
    with connect(server) as client:
        client.sendall(head(f"Content-Length: {len(body)}\r\n") + body)
        eventually(lambda: server.decoders._threads and server.receiving == 1000)
    eventually(lambda: connections(server) == 0)
    assert server.receiving == 1000
    go.set()
    eventually(lambda: server.receiving == 0)


def test_a_client_that_leaves_before_its_page_is_ready_does_no_harm(serve):
    """The page is thrown away."""
    page = Future()
    server = serve(metrics=lambda _: page)
    with connect(server) as client:
        client.sendall(head("", "/metrics", "GET"))
        eventually(lambda: connections(server) == 1)
    eventually(lambda: connections(server) == 0)
    page.set_result(("x/y", PAGE))
    assert ask(server).body == PAGE


@pytest.mark.parametrize(
    "start",
    [b"", b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n", head("Content-Length: 1000\r\n") + b"x"],
    ids=["nothing", "half the headers", "half a body"],
)
def test_dawdlers_do_not_keep_a_scraper_out(serve, start):
    """Hundreds that send nothing or a byte now and then: connections and threads are bounded, a scrape is answered."""
    server = serve(header_deadline=1.0, body_deadline=1.0)
    threads = threading.active_count()
    clients = []
    try:
        for _ in range(300):
            clients.append(connect(server))
            with contextlib.suppress(OSError):
                clients[-1].sendall(start)
            if len(clients) % 50 == 0:
                for client in clients:
                    with contextlib.suppress(OSError):
                        client.sendall(b"x")
                assert ask(server).body == PAGE
                assert connections(server) <= MAX_CONNECTIONS
        assert threading.active_count() <= threads + THREADS + PAGE_THREADS
        dripping = time.monotonic()
        while connections(server):
            assert time.monotonic() < dripping + 30, "the deadline has not closed them"
            for client in clients:
                with contextlib.suppress(OSError):
                    client.sendall(b"x")
            time.sleep(0.05)
    finally:
        for client in clients:
            client.close()


def test_those_who_are_being_answered_are_not_given_up(serve, monkeypatch):
    """A newcomer is, when all others wait for us."""
    monkeypatch.setattr(bounds, "MAX_CONNECTIONS", 2)
    page = Future()
    server = serve(metrics=lambda _: page)
    clients = [connect(server) for _ in range(2)]
    for client in clients:
        client.sendall(head("Connection: close\r\n", "/metrics", "GET"))
    eventually(lambda: all(peer.stage == 2 for peer in server._http._peers.values()) and connections(server) == 2)
    assert talk(server, head("", "/metrics", "GET")) == b""
    page.set_result(("x/y", PAGE))
    for client in clients:
        with client:
            assert everything(client).endswith(PAGE)


def test_one_rendering_serves_all_who_ask_while_the_one_before_it_is_made(serve):
    """No page is older than its request; a client that asks in another format gets its own."""
    made: list[Future] = []

    def metrics(accept: str) -> Future:
        made.append(Future())
        return made[-1]

    server = serve(metrics=metrics)
    answers: dict[str, bytes] = {}

    def asks(name: str, **headers: str) -> threading.Thread:
        def run() -> None:
            answer = ask(server, headers=headers)
            zipped = answer.getheader("Content-Encoding") == "gzip"
            answers[name] = zlib.decompress(answer.body, 31) if zipped else answer.body

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def waiting() -> int:
        return sum(peer.stage == 2 for peer in list(server._http._peers.values()))

    threads = [asks("a")]
    eventually(lambda: len(made) == 1)
    threads += [
        asks(name, **{"Accept-Encoding": encoding}) for name, encoding in (("b", ""), ("c", "gzip"), ("d", "gzip"))
    ]
    eventually(lambda: waiting() == 4)
    threads += [asks("e", Accept="application/openmetrics-text; version=1.0.0")]
    eventually(lambda: waiting() == 5)
    for number, body in enumerate((b"FIRST", b"SECOND", b"OTHER")):
        eventually(lambda number=number: len(made) == number + 1)
        made[number].set_result(("x/y", body))
    for thread in threads:
        thread.join(5)
    assert answers == {"a": b"FIRST", "b": b"SECOND", "c": b"SECOND", "d": b"SECOND", "e": b"OTHER"}


def test_browsers_on_a_page_cost_as_little_as_one(serve):
    """Those who ask while it is made share the next one; one page is made at a time."""
    made: list[str] = []
    go = threading.Event()

    def status(path: str, _: int | None) -> str:
        made.append(path)
        go.wait(10)
        return f"{path} {len(made)}"

    server = serve(status=status)
    answers: list[bytes] = []

    def ask_for(path: str) -> threading.Thread:
        thread = threading.Thread(target=lambda: answers.append(ask(server, path=path).body))
        thread.start()
        return thread

    threads = [ask_for("/")]
    eventually(lambda: made == ["/"])
    threads += [ask_for("/") for _ in range(10)]
    eventually(lambda: sum(peer.stage == 2 for peer in list(server._http._peers.values())) == 11)
    threads += [ask_for("/findings")]
    eventually(lambda: sum(peer.stage == 2 for peer in list(server._http._peers.values())) == 12)
    assert made == ["/"]
    go.set()
    for thread in threads:
        thread.join(5)
    assert sorted(answers) == [b"/ 1", *[b"/ 2"] * 10, b"/findings 3"]


def test_a_rendering_that_fails_fails_for_those_who_wait_for_it_and_no_others(serve):
    """The next one is made anew."""
    answers = iter([Future(), done(("x/y", PAGE))])
    broken = next(answers)
    broken.set_exception(TimeoutError())
    pages = iter([broken, next(answers)])
    server = serve(metrics=lambda _: next(pages))
    assert ask(server).status == 503
    assert ask(server).body == PAGE


@pytest.mark.parametrize("headers", ["Content-Length: 60000\r\n", "Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize(("path", "method"), [("/metrics", "GET"), ("/-/healthy", "GET"), ("/", "HEAD")])
def test_nobody_holds_a_connection_by_a_body_that_a_get_does_not_have(serve, path, method, headers):
    """It is answered and closed before the body comes."""
    server = serve(body_deadline=60.0)
    answer = talk(server, head(headers, path, method) + b"x")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"Connection: close" in answer
    eventually(lambda: connections(server) == 0)
    assert ask(server, path="/-/healthy", headers={"Content-Length": "0"}).status == 200


def test_bodies_that_do_not_come_leave_places_for_those_who_ask(serve, monkeypatch):
    """Of more than half of all places the one that takes longest is given up, not the newcomer's."""
    monkeypatch.setattr(bounds, "MAX_CONNECTIONS", 4)
    monkeypatch.setattr(bounds, "MAX_BODIES", 2)
    server = serve(body_deadline=60.0, header_deadline=60.0)
    with contextlib.ExitStack() as stack:
        bodies = []
        for _ in range(4):
            bodies.append(stack.enter_context(connect(server)))
            bodies[-1].sendall(head("Content-Length: 1000\r\n") + b"x")
            eventually(lambda: sum(peer.stage == 1 for peer in list(server._http._peers.values())) == len(bodies))
        idle = [stack.enter_context(connect(server)) for _ in range(2)]
        eventually(lambda: sorted(peer.stage for peer in list(server._http._peers.values())) == [0, 0, 1, 1])
        assert [everything(body) for body in bodies[:2]] == [b"", b""]
        idle[0].sendall(head("Connection: close\r\n", "/metrics", "GET"))
        assert everything(idle[0]).endswith(PAGE)


def slow_reader(server, path="/metrics"):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(5)
    client.connect(("127.0.0.1", server.port))
    client.sendall(head("", path, "GET"))
    return client


def test_slow_readers_are_hung_up_on(serve):
    """Ten megabytes that nobody takes hold up nobody, and not for long."""
    page = [bytes(10 << 20)]
    server = serve(metrics=lambda _: done(("x/y", page[0])))
    clients = [slow_reader(server) for _ in range(3)]
    eventually(lambda: sum(bool(stream._write_buffer) for stream in list(server._http._peers)) == 3)
    page[0] = PAGE
    assert ask(server).body == PAGE
    eventually(lambda: connections(server) == 0, 30)
    for client in clients:
        with client:
            assert len(everything(client)) < 10 << 20


def test_slow_readers_hold_a_bounded_number_of_bytes(serve):
    """Beyond it the slowest are hung up on before the deadline."""
    server = serve(metrics=lambda _: done(("x/y", bytes(10 << 20))), write_deadline=60.0)
    held = []
    clients = []
    for _ in range(20):
        clients.append(slow_reader(server))
        eventually(lambda: any(peer.stage == 2 for peer in server._http._peers.values()))
        assert ask(server, path="/-/healthy").status == 200
        held.append(sum(len(stream._write_buffer or b"") for stream in list(server._http._peers)))
    assert max(held) <= bounds.MAX_UNSENT
    eventually(lambda: connections(server) < 10)
    assert len(ask(server).body) == 10 << 20
    for client in clients:
        client.close()


@pytest.mark.parametrize("path", ["/x", "/-/healthy"])
def test_pipelining_without_reading_ends_too(serve, path):
    """Also when the answers are errors."""
    server = serve()
    one = head("", path, "GET")
    with slow_reader(server, path) as client:
        client.settimeout(0.1)
        with contextlib.suppress(OSError):
            while True:
                client.sendall(one * 1000)
        eventually(lambda: connections(server) == 0, 30)  # until the buffers of the system are full


def test_stop_closes_what_is_open_at_once(serve, pipeline):
    """Idle connections, half bodies, and those who wait for an answer that will not come."""
    server = serve(header_deadline=60.0, body_deadline=60.0, metrics=lambda _: Future())
    pipeline.go.clear()
    body = export("x")
    clients = [connect(server) for _ in range(20)]
    for client, data in zip(
        clients,
        [
            b"",
            head("Content-Length: 10\r\n") + b"x",
            head(f"Content-Length: {len(body)}\r\n") + body,
            head("", "/metrics", "GET"),
        ]
        * 5,
        strict=True,
    ):
        client.sendall(data)
    eventually(lambda: connections(server) == 20 and len(pipeline.source._waiting) == 5)
    server.stop()
    server.loop.stop()
    for client in clients:
        with client:
            assert everything(client) == b""
    with pytest.raises(ConnectionRefusedError):
        connect(server)


# --- the loop ------------------------------------------------------------------------------------------------------


def test_the_loop_cancels_what_is_left():
    """Also what is submitted while it ends; afterwards nothing more can be."""
    loop = EventLoop()
    loop.start()
    begun = threading.Event()

    async def forever():
        begun.set()
        await asyncio.Event().wait()

    left = loop.submit(forever())
    assert begun.wait(5)
    loop.stop()
    assert left.cancelled()
    loop.stop()
    with pytest.raises(RuntimeError):
        loop.submit(forever())


def test_a_loop_that_never_started_can_be_stopped():
    """When something else failed first."""
    loop = EventLoop()
    loop.stop()
    loop.stop()


# --- TLS -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """Two throwaway certificates with their keys."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("OPENSSL IS NOT AT HAND: TLS IS NOT TESTED")
    directory = tmp_path_factory.mktemp("tls")
    for name in ("one", "two"):
        command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-keyout", directory / f"{name}.key", "-out", directory / f"{name}.crt"]
        subprocess.run(command, check=True, capture_output=True)
    return directory


@pytest.fixture
def tls(tmp_path, certificates):
    """A certificate and its key, and a way to put others in their place."""

    def put(certificate, key):
        for name, kind in ((certificate, "crt"), (key, "key")):
            new = tmp_path / "new"
            shutil.copy(certificates / f"{name}.{kind}", new)
            new.chmod(0o600)
            new.replace(tmp_path / f"server.{kind}")

    put("one", "one")
    return tmp_path / "server.crt", tmp_path / "server.key", put


def trusting(certificates, name):
    return ssl.create_default_context(cafile=certificates / f"{name}.crt")


def test_tls_serves_and_takes_lines(serve, pipeline, certificates, tls):
    """Plain HTTP on the same port gets nothing."""
    certificate, key, _ = tls
    server = serve(tls=(certificate, key, None), header_deadline=2.0)
    context = trusting(certificates, "one")
    assert ask(server, context=context).body == PAGE
    assert ask(server, "POST", "/v1/logs", export("x"), {"Content-Type": PROTOBUF}, context=context).status == 200
    assert pipeline.lines == [b"x"]
    assert b"HTTP" not in talk(server, b"GET / HTTP/1.1\r\n\r\n")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_is_refused(serve, certificates, tls):
    """1.2 is served, 1.1 is not."""
    server = serve(tls=(*tls[:2], None), header_deadline=2.0)
    context = trusting(certificates, "one")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert ask(server, context=context).status == 200
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        ask(server, context=old)


def test_a_renewed_certificate_serves_the_next_connection(serve, certificates, tls, caplog):
    """While the new files do not fit together, the old ones stay, and that is logged once."""
    certificate, key, put = tls
    server = serve(tls=(certificate, key, None), header_deadline=2.0)
    one, two = trusting(certificates, "one"), trusting(certificates, "two")
    assert ask(server, context=one).status == 200
    put("two", "one")
    for _ in range(3):
        assert ask(server, context=one).status == 200
    key.unlink()
    for _ in range(3):
        assert ask(server, context=one).status == 200
    assert caplog.text.count("the former ones stay in use") == 2
    put("two", "two")
    assert ask(server, context=two).status == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(server, context=one)


def test_clients_without_a_certificate_are_refused_if_one_is_asked_for(serve, certificates, tls):
    """And let in with it. From this machine the probes answer without one, which a health check does not have."""
    server = serve(tls=(*tls[:2], certificates / "two.crt"), header_deadline=2.0)
    context = trusting(certificates, "one")
    for path, status in {
        "/-/healthy": 200, "/-/ready": 200,
        "/metrics": 403, "/": 403, "/status.css": 403, "/v1/sessions/s/budget": 403, "/v1/logs": 403, "/x": 404,
    }.items():  # fmt: skip
        method = "POST" if path == "/v1/logs" else "GET"
        answer = ask(server, method, path, headers={"Content-Type": JSON}, context=context)
        assert (path, answer.status) == (path, status)
        assert (b"a client certificate is required" in answer.body) is (status == 403)
    for path in ("/-/healthy", "/metrics"):
        with pytest.raises(OSError):  # noqa: PT011  (which one depends on the version of TLS)
            ask(server, path=path, context=context, source="127.0.0.2")
    context.load_cert_chain(certificates / "two.crt", certificates / "two.key")
    assert ask(server, context=context).status == 200
    assert ask(server, context=context, source="127.0.0.2").status == 200


def test_a_wrong_certificate_is_refused_from_this_machine_too(serve, certificates, tls):
    """None is better than a bad one."""
    server = serve(tls=(*tls[:2], certificates / "two.crt"), header_deadline=2.0)
    context = trusting(certificates, "one")
    context.load_cert_chain(certificates / "one.crt", certificates / "one.key")
    with pytest.raises(OSError):  # noqa: PT011  (the same)
        ask(server, path="/-/healthy", context=context)


def test_healthcheck_finds_the_exporter_well_whatever_its_tls(serve, certificates, tls, tmp_path, capsys):
    """With TLS, and where clients need a certificate."""
    for client_ca in (None, certificates / "two.crt"):
        server = serve(tls=(*tls[:2], client_ca), ready=lambda: "not yet", header_deadline=2.0)
        text = f"server:\n  tls_cert_file: {tls[0]}\n  tls_key_file: {tls[1]}\n"
        config = tmp_path / "config.yaml"
        config.write_text(text + (f"  tls_client_ca_file: {client_ca}\n" if client_ca else ""))
        arguments = ["healthcheck", "--config", str(config), "--web.listen-address", f"127.0.0.1:{server.port}"]
        assert command(arguments) == 0
        assert command([*arguments, "--ready"]) == 1
        assert "answers 503: 'not yet'" in capsys.readouterr().err


def test_dawdlers_in_the_handshake_are_closed(serve, certificates, tls):
    """And a client beside them is served."""
    server = serve(tls=(*tls[:2], None), header_deadline=1.0)
    clients = [connect(server) for _ in range(150)]
    assert ask(server, context=trusting(certificates, "one")).status == 200
    eventually(lambda: connections(server) == 0)
    for client in clients:
        client.close()


def test_unusable_tls_files_are_a_sentence(tmp_path, certificates, tls, caplog):
    """Before anything is served: a key that does not fit, files that are missing or no certificates, a secret key."""
    certificate, key, _ = tls
    nonsense, none, locked = tmp_path / "nonsense", tmp_path / "none", tmp_path / "locked"
    nonsense.write_text("x")
    command = ["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", key, "-out", locked]
    subprocess.run(command, check=True, capture_output=True)
    for files in (
        (certificate, certificates / "two.key", None),
        (nonsense, key, None),
        (certificate, nonsense, None),
        (none, key, None),
        (certificate, none, None),
        (certificate, locked, None),
        (certificate, key, none),
        (certificate, key, nonsense),
    ):
        with pytest.raises(OSError, match="TLS cannot be used") as caught:
            Certificate(*files)
        assert all(str(path) in str(caught.value) for path in files if path)
    assert caplog.text == ""
    key.chmod(0o644)
    Certificate(certificate, key, None)
    assert "can be read by others" in caplog.text


def test_a_budget_is_asked_for_by_whoever_may_send_lines(serve, tmp_path):
    """Ids may hold anything, percent-encoded; the token is that of /v1/logs."""
    (tmp_path / "token").write_text("secret\n")
    server = serve(token_file=tmp_path / "token", budget=lambda *asked: {"asked": asked})
    path = "/v1/sessions/s%2F1%20%C3%BC/budget"
    bearer = {"Authorization": "Bearer secret"}
    assert ask(server, path=path).status == 401
    answer = ask(server, path=f"{path}?agent_id=a&task_type=batch", headers=bearer)
    assert (answer.status, answer.body) == (200, b'{"asked":["s/1 \xc3\xbc","a","batch"]}')
    assert ask(server, path=path, headers=bearer).body == b'{"asked":["s/1 \xc3\xbc",null,"default"]}'
    assert ask(server, path=f"/v1/sessions/{'x' * 300}/budget", headers=bearer).status == 400


def test_a_budget_that_cannot_be_told_is_a_sentence(serve):
    def several(*_):
        raise LookupError("several agents have a session of this id: add ?agent_id=NAME")

    answer = ask(serve(budget=several), path="/v1/sessions/s/budget")
    assert answer.status == 409
    assert b"add ?agent_id=NAME" in answer.body

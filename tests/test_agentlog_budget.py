"""agentlog: an agent that asks the exporter first stops before the call that would pass its budget."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time

import pytest
from agentlines import Log
from running import Answering, Running, eventually

from agentlog import AgentLogger, BudgetExceeded


@pytest.fixture
def exporter(monkeypatch):
    monkeypatch.setattr("agentlog.budget.PATIENCE", 5.0)  # a loaded machine is not what is tried here
    with Answering(200, b'{"tokens":{"used":900,"max":1000,"left":100},"enforced":true,"stop":false}') as exporter:
        yield exporter


def test_a_call_that_does_not_fit_into_what_is_left_does_not_begin(exporter, tmp_path):
    """It is asked under the token, about this session of this agent and its task type."""
    (tmp_path / "token").write_text("secret\n")
    log = Log("a b", exporter=exporter.url, exporter_token_file=tmp_path / "token")
    with pytest.raises(BudgetExceeded) as refused, log.session(session_id="s/1", task_type="batch") as s:
        with s.action("llm_call", expected_tokens=100):
            pass
        with s.action("llm_call", expected_tokens=101):
            pytest.fail("it began")
    assert (
        str(refused.value) == "session s/1 has 100 of its 1000 tokens left, says the exporter, and 101 more do not fit"
    )
    [(path, headers, _)] = exporter.asked
    assert path == "/v1/sessions/s%2F1/budget?agent_id=a+b&task_type=batch"
    assert headers["Authorization"] == "Bearer secret"
    assert [line["status"] for line in log.lines()] == ["success", "error", "success"]


def test_a_session_that_was_told_to_stop_begins_nothing_more(exporter):
    """Not even a tool call, and not for other sessions."""
    log = Log(exporter=exporter.url)
    hands = log.hands
    with pytest.raises(BudgetExceeded, match="session s1 is to stop: 1200 of its 1000 tokens are used"):
        with log.session(session_id="s1") as s:
            with s.action("search"):
                exporter.answer = b'{"tokens":{"used":1200,"max":1000,"left":0},"enforced":true,"stop":true}'
            with s.action("search"):  # an answer holds for a second
                hands.sleep(1)
            with s.action("search"):
                pytest.fail("it began")
    assert len(exporter.asked) == 2


def test_where_budgets_are_only_observed_nothing_is_stopped(exporter):
    """The exporter's default: it tells what is left, and no more; but whoever was told to stop is still to stop."""
    exporter.answer = b'{"tokens":{"used":1200,"max":1000,"left":0},"enforced":false,"stop":false}'
    log = Log(exporter=exporter.url)
    with log.session() as s, s.action("llm_call", expected_tokens=500):
        pass
    assert [line["status"] for line in log.lines()] == ["success", "success"]
    exporter.answer = b'{"tokens":{"used":1200,"max":1000,"left":0},"enforced":false,"stop":true}'
    with pytest.raises(BudgetExceeded), log.session() as s, s.action("llm_call"):
        pass


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (500, b""),
        (401, b""),
        (200, b"<html>"),
        (200, b"{}"),
        (200, b'{"tokens":null,"enforced":1,"stop":1}'),
        (200, b"[]"),
        (200, b"[" * 60_000),
        (200, b'{"tokens":{"used":1e999,"max":1,"left":0},"enforced":true,"stop":true}'),
        (200, b" " * 70_000 + b'{"tokens":{"used":1,"max":1,"left":0},"enforced":true,"stop":true}'),
    ],
)
def test_without_a_sound_answer_the_agent_goes_on_and_asks_no_more_for_a_while(exporter, status, answer, caplog):
    exporter.status, exporter.answer = status, answer
    log = Log(exporter=exporter.url)
    with log.session() as s:
        for _ in range(3):
            with s.action("llm_call", expected_tokens=10**6):
                log.hands.sleep(2)
    assert len(exporter.asked) == 1
    assert sum("agents go on without" in record.message for record in caplog.records) == 1
    exporter.status, exporter.answer = 200, b'{"tokens":{"used":1,"max":1,"left":0},"enforced":true,"stop":true}'
    log.hands.sleep(30)
    with pytest.raises(BudgetExceeded), log.session() as s, s.action("llm_call"):
        pass


class Trickling:
    """Whatever is asked, it says `first`, and then one byte of `rest` every 5 ms, without end."""

    def __init__(self, first: bytes, rest: bytes) -> None:
        self._first, self._rest = first, rest
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.taken = 0
        self.closed = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self.taken += 1
                with connection, contextlib.suppress(OSError):
                    connection.sendall(self._first)
                    while self._rest:
                        for byte in self._rest:
                            connection.sendall(bytes([byte]))
                            time.sleep(0.005)
                    while connection.recv(4096):
                        pass
                self.closed.set()

    def __enter__(self) -> Trickling:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()


OK = b"HTTP/1.1 200 OK\r\n"
SLOW = {
    "silent": (b"", b""),
    "slow to say its status": (b"", b"HTTP/1.1 200 OK and so on"),
    "slow with its headers": (OK, b"A: b\r\n"),
    "slow with its body": (OK + b"Content-Length: 1000000\r\n\r\n", b" "),
    "slow with a body without a length": (OK + b"\r\n", b"["),
    "never through with its chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


@pytest.mark.parametrize("way", SLOW)
def test_an_exporter_that_is_slow_costs_a_twentieth_of_a_second_once(way):
    """However its time is spent. Three twentieths are allowed to a loaded machine; then it is asked no more."""
    with Trickling(*SLOW[way]) as slow:
        log = Log(exporter=slow.url)
        began = time.monotonic()
        with log.session() as s:
            for _ in range(100):
                with s.action("llm_call"):
                    pass
        took = time.monotonic() - began
        assert 0.04 < took < 0.15
        assert slow.closed.wait(5)  # nobody reads on
        assert slow.taken == 1
    assert len(log.lines()) == 101


def test_a_loop_is_held_up_no_longer(monkeypatch):
    """Even by a name that is long being resolved. The thread that waits for it is the only one, and nobody's."""
    resolved = threading.Event()
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: resolved.wait(10) and [])
    log = Log(exporter="http://exporter.nowhere:10777")

    async def run() -> float:
        began = time.monotonic()
        async with log.session() as s:
            for _ in range(5):
                async with s.action("llm_call"):
                    log.hands.sleep(31)
        return time.monotonic() - began

    took = asyncio.run(run())
    asking = [thread for thread in threading.enumerate() if thread.name == "agentlog budget"]
    resolved.set()
    assert took < 0.15
    assert [thread.daemon for thread in asking] == [True]
    asking[0].join(5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_process_asks_for_itself(exporter):
    """Though another thread was asking when it was made."""
    log = Log(exporter=exporter.url)
    with log.budget._turn, log.session() as s:
        child = os.fork()
        if not child:
            try:
                s.action("llm_call", expected_tokens=101).begin()
            except BudgetExceeded:
                os._exit(7)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_agents_of_one_family_share_the_address(exporter):
    log = Log(exporter=exporter.url)
    assert log.named("other").budget is log.budget


@pytest.mark.parametrize("address", ["127.0.0.1:10777", "ftp://x", "http://", "http://a:b", "http://[::1", 10777])
def test_an_address_that_is_none_is_said_at_once(address):
    with pytest.raises(ValueError, match="address must be http://HOST:PORT"):
        AgentLogger("a", exporter=address)


@pytest.mark.slow
def test_an_agent_that_asks_does_not_overspend(tmp_path):
    """Against a real exporter: calls of 300 tokens, of which three fit into 1,000."""
    path = tmp_path / "agent.log"
    (tmp_path / "config.yaml").write_text(
        f"breaker: {{mode: enforce}}\nstate: {{path: {tmp_path}/state.db}}\n"
        "task_types: {default: {session_tokens: 1000}}\n"
    )
    path.touch()
    with Running("--config", tmp_path / "config.yaml", path).ready() as running:
        log = AgentLogger("asking", path=path, exporter=running.url)
        calls = 0

        def told() -> bool:
            return f'"used":{300 * calls}' in running.get("/v1/sessions/s/budget?agent_id=asking")[1]

        with pytest.raises(BudgetExceeded), log.session(session_id="s") as s:
            while calls < 10:
                with s.action("llm_call", expected_tokens=300) as a:
                    calls += 1
                    a.tokens(prompt=300)
                s.asked = None  # so that it asks before each call, whatever a second is
                eventually(told)
        assert calls == 3

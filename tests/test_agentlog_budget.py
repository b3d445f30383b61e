"""agentlog: an agent that asks the exporter first stops before the call that would pass its budget."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
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
    assert str(refused.value) == (
        "session s/1 may use 1000 tokens, says the exporter: 900 are used, 0 held by open actions, "
        "and 101 more do not fit"
    )
    [(path, headers, _)] = exporter.asked
    assert path == "/v1/sessions/s%2F1/budget?agent_id=a+b&task_type=batch"
    assert headers["Authorization"] == "Bearer secret"
    assert [line["status"] for line in log.lines()] == ["success", "error", "success"]


def test_a_session_that_was_told_to_stop_begins_nothing_more(exporter):
    """Not even a tool call, and not for other sessions."""
    log = Log(exporter=exporter.url)
    hands = log.hands
    with pytest.raises(BudgetExceeded, match="session s1 is to stop: 1200 of the 1000 tokens"):
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
    """However its time is spent; ten times that is allowed to a loaded machine. Then it is asked no more."""
    with Trickling(*SLOW[way]) as slow:
        log = Log(exporter=slow.url)
        began = time.monotonic()
        with log.session() as s:
            for _ in range(100):
                with s.action("llm_call"):
                    pass
        took = time.monotonic() - began
        assert 0.04 < took < 0.5
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
    assert took < 0.5
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


# --- what the exporter has not read yet -------------------------------------------------------------------------------


def telling(used: float = 0, *, dollars: float | None = None, enforced: bool = True, stop: bool = False) -> bytes:
    """An answer of an exporter that allows 1,000 tokens, and one dollar if it knows of dollars."""
    return json.dumps(
        {
            "tokens": {"used": used, "max": 1000, "left": max(0, 1000 - used)},
            "cost_usd": None if dollars is None else {"used": dollars, "max": 1.0, "left": max(0.0, 1 - dollars)},
            "enforced": enforced,
            "stop": stop,
        }
    ).encode()


def calls(log: Log, *, expected: int = 0, every: float = 0.0, before=lambda _: None, **told) -> tuple[int, str]:
    """How many calls of 120 tokens begin, and why no more do; 30 if nothing stops them."""
    begun = 0
    with log.session(session_id="s") as s:
        try:
            while begun < 30:
                before(begun)
                with s.action("llm_call", expected_tokens=expected) as a:
                    begun += 1
                    log.hands.sleep(every)
                    a.tokens(prompt=100, completion=20, **told)
        except BudgetExceeded as error:
            return begun, str(error).removeprefix("session s ")
    return begun, ""


@pytest.mark.parametrize("every", [0.0, 0.05, 0.4, 2.0])
def test_what_a_session_has_used_counts_before_the_exporter_has_read_it(exporter, every):
    """At any pace, and however often it is asked: eight calls of 120 fit into 1,000, and a ninth does not begin."""
    exporter.answer = telling(0)
    assert calls(Log(exporter=exporter.url), expected=120, every=every) == (
        8,
        "may use 1000 tokens, says the exporter: 960 are used, 0 held by open actions, and 120 more do not fit",
    )


def test_what_a_session_has_used_counts_once(exporter):
    """Though both know of it: the exporter has read everything, or some of it, whenever it is asked."""

    def read(begun: int) -> None:
        exporter.answer = telling(120 * (begun if begun % 2 else begun // 2))

    assert calls(Log(exporter=exporter.url), expected=120, every=1.0, before=read)[0] == 8
    assert len(exporter.asked) == 9


def test_what_others_have_used_in_the_same_session_counts_as_well(exporter):
    """500 at first; then only the four calls that still fit."""
    exporter.answer = telling(500)
    assert calls(Log(exporter=exporter.url), expected=120) == (
        4,
        "may use 1000 tokens, says the exporter: 980 are used, 0 held by open actions, and 120 more do not fit",
    )


def test_a_session_that_does_not_say_what_it_expects_stops_after_the_call_that_crosses(exporter):
    """The ninth makes 1,080, and nothing begins after it."""
    exporter.answer = telling(0)
    assert calls(Log(exporter=exporter.url)) == (
        9,
        "is to stop: 1080 of the 1000 tokens that the exporter allows are used",
    )


def test_dollars_stop_the_call_after_the_one_that_crosses(exporter):
    """Exactly at the ceiling is within it, whatever ten times 0.1 is to a computer; and tokens are left."""
    exporter.answer = telling(0, dollars=0.0)
    stopped = (11, "is to stop: $1.1 of the $1 that the exporter allows are used")
    log = Log(exporter=exporter.url)
    with log.session() as s:
        for _ in range(11):
            with s.action("llm_call") as a:
                a.tokens(prompt=1, cost_usd=0.1)
        with pytest.raises(BudgetExceeded) as refused, s.action("search"):
            pytest.fail("it began")
    assert str(refused.value) == f"session {s.id} {stopped[1]}"


def test_dollars_that_only_the_exporter_can_reckon_count_once_it_has(exporter):
    """By its prices: the agent tells tokens and no cost."""

    def read(begun: int) -> None:
        exporter.answer = telling(120 * begun, dollars=0.3 * begun)

    assert calls(Log(exporter=exporter.url), every=1.0, before=read) == (
        4,
        "is to stop: $1.2 of the $1 that the exporter allows are used",
    )


def test_calls_at_the_same_time_hold_what_they_expect_of_the_exporters_budget(exporter):
    """Eight, and no ninth. What is told is held no more, though the action is still open."""
    exporter.answer = telling(0)
    log = Log(exporter=exporter.url)
    with log.session() as s:
        begun = [s.action("llm_call", expected_tokens=120).begin() for _ in range(8)]
        with pytest.raises(BudgetExceeded, match="0 are used, 960 held by open actions, and 120 more do not fit"):
            s.action("llm_call", expected_tokens=120).begin()
        begun[0].tokens(prompt=200)
        with pytest.raises(BudgetExceeded, match="200 are used, 840 held by open actions, and 0 more do not fit"):
            s.action("search").begin()
        for action in begun[1:]:
            action.tokens(prompt=10)
            action.end()
        with s.action("llm_call", expected_tokens=730):
            pass


def test_what_is_only_observed_stops_nobody_however_much_is_used(exporter):
    exporter.answer = telling(0, dollars=0.0, enforced=False)
    assert calls(Log(exporter=exporter.url), expected=120, cost_usd=1.0) == (30, "")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (telling(1200, stop=True), "is to stop: 1200 of the 1000 tokens that the exporter allows are used"),
        (telling(100, dollars=1.25, stop=True), "is to stop: $1.25 of the $1 that the exporter allows are used"),
        (telling(100, dollars=0.5, stop=True), "was stopped by the exporter"),
        (telling(1200, enforced=False, stop=True), "was stopped by the exporter"),
    ],
)
def test_a_session_is_told_what_it_is_stopped_for(exporter, answer, why):
    """Tokens, dollars; or only by whom, if it was for a loop or in a mode of before."""
    exporter.answer = answer
    assert calls(Log(exporter=exporter.url)) == (0, why)


def test_the_last_answer_stands_for_a_while_if_no_other_comes(exporter):
    """Less what is used since: an exporter that is slow once, or restarts, is no leave to go on for 30 s."""
    exporter.answer = telling(0)

    def go(begun: int) -> None:
        exporter.status = 500 if begun else 200

    assert calls(Log(exporter=exporter.url), expected=120, every=2.0, before=go)[0] == 8
    assert calls(Log(exporter=exporter.url), expected=120, every=10.0, before=go) == (30, "")


def test_a_session_that_was_quiet_has_what_the_exporter_gives_it_anew(exporter):
    """It counts a session anew after its idle time; and by then it has read everything."""
    exporter.answer = telling(0)
    log = Log(exporter=exporter.url)
    with log.session() as s:
        for _ in range(3):
            for _ in range(8):
                with s.action("llm_call", expected_tokens=120) as a:
                    a.tokens(prompt=120)
            with pytest.raises(BudgetExceeded), s.action("llm_call", expected_tokens=120):
                pytest.fail("it began")
            log.hands.sleep(300)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("at_once", "expected", "cost", "begin", "why"),
    [
        (1, 120, {}, 8, "may use 1000 tokens, says the exporter: 960 are used, 0 held by open actions, and 120 more"),
        (1, 0, {}, 9, "is to stop: 1080 of the 1000 tokens that the exporter allows are used"),
        (1, 0, {"cost_usd": 0.25}, 5, "is to stop: $1.25 of the $1 that the exporter allows are used"),
        (4, 120, {}, 8, "may use 1000 tokens, says the exporter: "),
    ],
)
def test_an_agent_that_asks_does_not_overspend(tmp_path, monkeypatch, at_once, expected, cost, begin, why):
    """Against a real exporter, as fast as it can, from one thread or several; and the exporter's sum is the same."""
    monkeypatch.setattr("agentlog.budget.PATIENCE", 5.0)
    path = tmp_path / "agent.log"
    (tmp_path / "config.yaml").write_text(
        f"breaker: {{mode: enforce}}\nstate: {{path: {tmp_path}/state.db}}\n"
        "task_types: {default: {session_tokens: 1000, session_cost_usd: 1}}\n"
    )
    path.touch()
    with Running("--config", tmp_path / "config.yaml", path).ready() as running:
        log = AgentLogger("asking", path=path, exporter=running.url)
        begun, refused = [], []

        def work() -> None:
            try:
                for _ in range(100):
                    with s.action("llm_call", expected_tokens=expected) as a:
                        begun.append(a)
                        a.tokens(prompt=100, completion=20, **cost)
            except BudgetExceeded as error:
                refused.append(str(error))

        with log.session(session_id="s") as s:
            workers = [threading.Thread(target=work) for _ in range(at_once)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            used = f'"tokens":{{"used":{120 * begin},'
            eventually(lambda: used in running.get("/v1/sessions/s/budget?agent_id=asking")[1])
        assert len(begun) == begin
        assert len(refused) == at_once
        assert all(text.startswith(f"session s {why}") for text in refused)


@pytest.mark.slow
def test_what_two_processes_use_in_one_session_stops_both(tmp_path):
    """As soon as the exporter has read it: here the first is through before the second begins."""
    path = tmp_path / "agent.log"
    (tmp_path / "config.yaml").write_text(
        f"breaker: {{mode: enforce}}\nstate: {{path: {tmp_path}/state.db}}\n"
        "task_types: {default: {session_tokens: 1000}}\n"
    )
    path.touch()
    with Running("--config", tmp_path / "config.yaml", path).ready() as running:
        program = (
            "import sys; from agentlog import AgentLogger\n"
            f"s = AgentLogger('asking', path={str(path)!r}, exporter={running.url!r}).session(session_id='s').begin()\n"
            "import agentlog.budget; agentlog.budget.PATIENCE = 5.0\n"
            "for n in range(int(sys.argv[1])):\n"
            "    with s.action('llm_call', expected_tokens=120) as a: a.tokens(prompt=120)\n"
        )
        run = [sys.executable, "-c", program]
        assert subprocess.run([*run, "5"], check=False, capture_output=True).returncode == 0
        eventually(lambda: '"used":600,' in running.get("/v1/sessions/s/budget?agent_id=asking")[1])
        second = subprocess.run([*run, "5"], check=False, capture_output=True, text=True)
        assert "960 are used, 0 held by open actions, and 120 more do not fit" in second.stderr
        eventually(lambda: '"used":960,' in running.get("/v1/sessions/s/budget?agent_id=asking")[1])

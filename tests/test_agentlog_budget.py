"""agentlog: an agent that asks the exporter first stops before the call that would pass its budget."""

from __future__ import annotations

import socket
import time

import pytest
from agentlines import Hands, Log
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


def test_an_exporter_that_hangs_costs_a_twentieth_of_a_second_once():
    """It takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        log = Log(exporter=f"http://127.0.0.1:{silent.getsockname()[1]}", clock=Hands().clock())
        began = time.monotonic()
        with log.session() as s:
            for _ in range(100):
                with s.action("llm_call"):
                    pass
        print(f"a hundred actions beside a silent exporter took {time.monotonic() - began:.3f} s")
    assert len(log.lines()) == 101


def test_agents_of_one_family_share_the_address(exporter):
    log = Log(exporter=exporter.url)
    assert log.named("other").budget is log.budget


@pytest.mark.parametrize("address", ["127.0.0.1:10777", "ftp://x", "http://"])
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

"""The call itself: where it goes is the config's alone, and what a log line brings can do nothing but name a session."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import Answering

from agent_exporter.breaker import terminator
from agent_exporter.breaker.intent import Intent
from agent_exporter.breaker.terminator import Refused, Terminator, terminate
from agent_exporter.config import Terminate


@pytest.fixture
def agent():
    with Answering(202) as agent:
        yield agent


def intent(session_id: str = "s", agent_id: str = "a") -> Intent:
    return Intent(
        agent_id=agent_id, session_id=session_id, reason="session_budget", generation=1, at=0.0,
        evidence={"tokens": 2, "max_tokens": 1}, trace_id="f" * 32,
    )  # fmt: skip


def stop(how: Terminate, mine: Intent | None = None) -> str:
    """ "taken", or why not."""
    try:
        asyncio.run(terminate(mine or intent(), how))
    except Refused as refused:
        return f"{'FINAL ' if refused.final else ''}{refused}"
    return "taken"


def test_the_call_says_who_why_and_under_which_key(agent, tmp_path):
    (tmp_path / "auth").write_text("Bearer secret\n")
    how = Terminate(url=f"{agent.url}/v1/sessions/{{session_id}}/terminate", auth_header_file=str(tmp_path / "auth"))
    assert stop(how) == "taken"
    [(path, headers, body)] = agent.asked
    assert path == "/v1/sessions/s/terminate"
    assert headers["Idempotency-Key"] == intent().idempotency_key
    assert headers["Authorization"] == "Bearer secret"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {
        "session_id": "s",
        "agent_id": "a",
        "reason": "session_budget",
        "idempotency_key": intent().idempotency_key,
        "trace_id": "f" * 32,
        "evidence": {"tokens": 2, "max_tokens": 1},
    }


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (200, "taken"),
        (404, "taken"),
        (410, "taken"),
        (302, "HTTP 302 Found"),
        (401, "HTTP 401 Unauthorized"),
        (503, "HTTP 503 Service Unavailable"),
    ],
)
def test_an_answer_takes_it_or_does_not(agent, status, told):
    """No redirect is followed: a target is the config's."""
    agent.status, agent.headers = status, {"Location": f"{agent.url}/elsewhere"}
    place = agent.url.removeprefix("http://")
    assert stop(Terminate(url=f"{agent.url}/x")) == (told if told == "taken" else f"{place}: {told}")
    assert len(agent.asked) == 1


def test_ids_are_encoded_and_cannot_lead_elsewhere(agent):
    how = Terminate(url=f"{agent.url}/a/{{agent_id}}/s/{{session_id}}")
    assert stop(how, intent("../../admin?x=1#y", "ü {session_id}")) == "taken"
    assert agent.asked[0][0] == "/a/%C3%BC%20%7Bsession_id%7D/s/..%2F..%2Fadmin%3Fx%3D1%23y"
    for dots in (".", "..", "..."):
        assert stop(how, intent(dots)) == f"FINAL session_id {dots!r} cannot stand in a URL"
    assert len(agent.asked) == 1


def test_a_template_that_does_not_name_the_session_may_meet_any_id(agent):
    """It is in the body."""
    assert stop(Terminate(url=f"{agent.url}/stop"), intent("..")) == "taken"


def test_what_is_not_there_is_said(agent, tmp_path):
    assert "refused" in stop(Terminate(url="http://127.0.0.1:1/x")).lower()
    how = Terminate(url=f"{agent.url}/x", auth_header_file=str(tmp_path / "none"))
    assert "cannot be read" in stop(how)
    (tmp_path / "bad").write_text("one\ntwo\n")
    assert agent.asked == []
    assert stop(Terminate(url=f"{agent.url}/x", auth_header_file=str(tmp_path / "bad"))) != "taken"


def test_an_answer_that_never_ends_is_a_refusal(agent):
    """Headers without end, or a body: nothing that an agent sends ends the attempts."""
    agent.headers = {f"X-{n}": "x" * 1_000 for n in range(200)}
    assert stop(Terminate(url=f"{agent.url}/x")) != "taken"
    agent.headers = {"Content-Length": str(10**9)}
    assert stop(Terminate(url=f"{agent.url}/x")) != "taken"
    agent.headers = {"Content-Encoding": "gzip"}
    assert stop(Terminate(url=f"{agent.url}/x")) == "taken"


def test_an_agent_that_hangs_costs_its_own_time_only(agent, monkeypatch):
    monkeypatch.setattr(terminator, "TIMEOUT", 0.2)
    agent.delay = 1.0
    assert "imeout" in stop(Terminate(url=f"{agent.url}/x"))


def test_a_command_gets_the_ids_as_arguments_and_with_the_key_in_its_environment(tmp_path):
    """In the environment whatever they hold."""
    out = tmp_path / "out"
    program = tmp_path / "stop"
    program.write_text(
        f'#!/bin/sh\nprintf "%s|" "$@" "$SESSION_ID" "$AGENT_ID" "$IDEMPOTENCY_KEY" "${{HOSTILE-unset}}" > {out}\n'
    )
    program.chmod(0o755)
    for argv, session_id, arguments in (
        ([str(program), "{session_id}", "--agent", "{agent_id}"], "run-1", "run-1|--agent|a.b:c|"),
        ([str(program)], "$(touch /tmp/x); `y`\n-rf", ""),
    ):
        assert stop(Terminate(argv=argv), intent(session_id, "a.b:c")) == "taken"
        key = intent(session_id, "a.b:c").idempotency_key
        assert out.read_text() == f"{arguments}{session_id}|a.b:c|{key}|unset|"


NOT_AN_ARGUMENT = (
    "FINAL {{session_id}} {} cannot be an argument of /bin/true: only letters, digits and . _ : - are, beginning with a "
    "letter or digit; $SESSION_ID and $AGENT_ID have any"
)


@pytest.mark.parametrize(
    ("argv", "session_id", "told"),
    [
        (["/bin/false"], "s", "/bin/false ended with exit code 1"),
        (["/nowhere/stop"], "s", "/nowhere/stop: No such file or directory"),
        *(
            (["/bin/true", "{session_id}"], name, NOT_AN_ARGUMENT.format(repr(name)))
            for name in ("-rf", "$(id)", "a b", "a/../b", "a\n", "\u00e9", "", "a\0b")
        ),
        (["/bin/true"], "a\0b", "FINAL an id with a NUL cannot be given to a command"),
    ],
)
def test_a_command_that_does_not_do_it_is_said(argv, session_id, told):
    assert stop(Terminate(argv=argv), intent(session_id)) == told


def test_a_command_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(terminator, "TIMEOUT", 0.2)
    assert stop(Terminate(argv=["/bin/sleep", "60"])) == "/bin/sleep took longer than 0.2 s"


@given(st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=64))
def test_whatever_the_ids_are_the_target_stays_under_the_configs_path(session_id, agent_id):
    """Or there is no call at all."""
    asked = []

    async def fetch(_self, request, **_):
        asked.append(request.url)

        class Answer:
            code, reason = 200, "OK"

        return Answer()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminator.outgoing.SimpleAsyncHTTPClient, "fetch", fetch)
        stop(Terminate(url="http://127.0.0.1:9/a/{agent_id}/s/{session_id}/end"), intent(session_id, agent_id))
    for url in asked:
        parts = url.removeprefix("http://127.0.0.1:9").split("/")
        assert len(parts) == 6
        assert (parts[1], parts[3], parts[5]) == ("a", "s", "end")
        assert not set(url) & set("?#\\ \r\n")
        assert "." not in {parts[2].replace("..", "."), parts[4].replace("..", ".")}


def test_attempts_go_on_until_whoever_decides_says_stop():
    """And the settings are looked up for each: a reload may mend them."""
    told = []

    async def answered(key, refused):
        told.append((key, str(refused)))
        return len(told) < 3

    asked, wishes = [], []

    async def wanted(key):
        wishes.append(key)
        return True

    def how(agent_id):
        asked.append(agent_id)
        return Terminate(argv=["/bin/false"])

    async def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(terminator, "FIRST_BACKOFF", 0.0)
            await Terminator(how, answered, wanted).carry_out(intent())

    asyncio.run(run())
    assert told == [(intent().key, "/bin/false ended with exit code 1")] * 3
    assert asked == ["a"] * 3
    assert wishes == [intent().key] * 2


def test_an_attempt_that_is_not_wanted_any_more_is_not_made():
    told = []

    async def answered(key, refused):
        told.append((key, str(refused)))
        return True

    async def wanted(key):
        return False

    async def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(terminator, "FIRST_BACKOFF", 0.0)
            await Terminator(lambda _: Terminate(argv=["/bin/false"]), answered, wanted).carry_out(intent())

    asyncio.run(run())
    assert told == [(intent().key, "/bin/false ended with exit code 1")]

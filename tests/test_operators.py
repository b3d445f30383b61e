"""What operators can ask of the breaker, and agents of their budget, from a running exporter."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
from running import ROOT, Running, eventually

from agent_exporter.breaker.audit import digest
from agent_exporter.config import parse
from agent_exporter.server.budget import budget
from agent_exporter.sessions import Sessions


def order(*arguments: str) -> tuple[int, str, str]:
    """`agent-exporter breaker ...`: exit code, standard output, standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "agent_exporter", "breaker", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def say(log, tokens: int, session: str = "s", **fields) -> None:
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    line = {"timestamp": now, "agent_id": "a", "session_id": session, "action": "llm_call", "status": "success"}
    with log.open("a") as file:
        file.write(json.dumps(line | {"tokens": {"prompt": tokens}} | fields) + "\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """An exporter in observe mode with a session over its budget, and one within it."""
    folder = tmp_path_factory.mktemp("operators")
    log, state = folder / "a.log", folder / "state.db"
    config = folder / "config.yaml"
    config.write_text(f"state: {{path: {state}}}\ntask_types: {{default: {{session_tokens: 1000}}}}\n")
    say(log, 600)
    say(log, 601)
    say(log, 10, "quiet")
    with Running("--config", config, log) as exporter:
        eventually(lambda: exporter.total("agent_terminations_total") == 1)
        yield exporter, config, log, state


def test_the_status_says_what_was_observed_and_why(site):
    _, config, _, state = site
    code, out, err = order("status", "--config", config)
    assert (code, err) == (0, "")
    rows = out.splitlines()
    assert rows[0] == "observing: nothing is stopped (breaker.mode: observe)"
    assert rows[1] == f"audit log: {state.with_name('audit.ndjson')}"
    assert rows[4].split() == ["STATUS", "AGENT", "SESSION", "REASON", "WHY"]
    status, *_, why = rows[5].split(maxsplit=6)
    assert (status, why) == ("observed", "session_budget  breaker.mode is observe")
    code, out, _ = order("status", "--json", "--state.path", state)
    assert json.loads(out)["intents"][0]["session_id"] == "s"


def test_the_socket_is_its_owners_alone_and_goes_with_the_exporter(site):
    *_, state = site
    path = state.with_name("state.db.sock")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_session_is_extended_and_the_answer_says_to_what(site):
    exporter, config, _, _ = site
    assert order("extend", "quiet", "--config", config) == (
        1, "", "agent-exporter: extend by what? --tokens N, --cost-usd X, or both",
    )  # fmt: skip
    assert order("extend", "quiet", "--tokens", "500", "--config", config) == (
        0, "session 'quiet' of 'a' may now use 1500 tokens; it has used 10", "",
    )  # fmt: skip
    assert json.loads(exporter.get("/v1/sessions/quiet/budget")[1])["tokens"] == {"used": 10, "max": 1500, "left": 1490}
    code, _, err = order("extend", "nobody", "--tokens", "5", "--config", config)
    assert (code, err) == (1, "agent-exporter: no open session 'nobody'")
    code, _, err = order("extend", "quiet", "--tokens", "-5", "--config", config)
    assert code == 2
    assert "must be a whole number above zero, not '-5'" in err


def test_unlatching_what_is_not_latched_says_so(site):
    assert order("unlatch", "--config", site[1]) == (0, "the breaker is not latched", "")


def test_the_audit_log_is_verified(site, tmp_path):
    path = site[3].with_name("audit.ndjson")
    code, out, _ = order("verify", path)
    assert code == 0
    assert ", the chain is sound; last hash " in out
    changed = tmp_path / "changed.ndjson"
    changed.write_bytes(path.read_bytes().replace(b'"s"', b'"t"'))
    code, out, _ = order("verify", changed)
    assert code == 1
    assert "line 1: was changed: its hash is not that of what it says" in out
    assert order("verify", tmp_path / "none")[0] == 2


def test_an_audit_log_that_was_cut_extended_or_written_anew_is_not_sound(tmp_path):
    """It is compared with the state beside it, while the exporter writes that."""
    log, state = tmp_path / "a.log", tmp_path / "state.db"
    config = tmp_path / "config.yaml"
    config.write_text(f"state: {{path: {state}}}\ntask_types: {{default: {{session_tokens: 1000}}}}\n")
    for session in "stuv":
        say(log, 1_001, session)
    path = tmp_path / "audit.ndjson"
    with Running("--config", config, log) as exporter:
        eventually(lambda: path.exists() and path.read_bytes().count(b"\n") == 4)
        exporter.scrape()
        rows = path.read_bytes().splitlines(keepends=True)
        code, out, _ = order("verify", "--config", config)
        assert (code, out.splitlines()[1:]) == (0, [f"{path}: compared with the state file {state}"])

        def verified(*kept: bytes) -> str:
            path.write_bytes(b"".join(kept))
            code, out, _ = order("verify", path)
            assert code == 1, out
            return out.removeprefix(f"{path}: ").splitlines()[0]

        cut = "lines were cut from its end or changed, or it was moved away and a newer file goes on"
        assert verified(*rows[:-1]).endswith(cut)
        assert verified().endswith(cut)
        assert verified(*rewritten(rows[1:])).endswith(cut)
        assert verified(*rewritten([*rows, rows[0]])) == "line 5: was added: the state does not know it"
        twice = rows[0].replace(b'{"agent_id":"a"', b'{"agent_id":"b","agent_id":"a"')
        assert verified(twice, *rows[1:]) == "line 1: was changed: it says the same, but not as it was written"
    elsewhere = tmp_path / "moved" / "audit.ndjson"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(b"".join(rows[:-1]))
    code, out, _ = order("verify", elsewhere)
    assert (code, out.splitlines()[1:]) == (0, [
        f"{elsewhere}: lines may have been cut from its end: no state file is beside it; name one with --state.path"
    ])  # fmt: skip
    assert order("verify", elsewhere, "--state.path", state)[0] == 1


def rewritten(rows: list[bytes]) -> list[bytes]:
    """A chain of these entries that is sound in itself."""
    made, head = [], "0" * 64
    for number, row in enumerate(rows, 1):
        entry = json.loads(row) | {"n": number, "prev": head}
        entry["hash"] = head = digest(entry)
        made.append(json.dumps(entry, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return made


def test_nobody_answers_without_an_exporter(tmp_path):
    code, _, err = order("status", "--state.path", tmp_path / "state.db")
    assert code == 1
    assert err == f"agent-exporter: no exporter answers at {tmp_path}/state.db.sock: No such file or directory"
    assert order("status")[0] == 2


def test_an_agent_asks_what_is_left_and_is_answered_at_once(site):
    """Also while the pipeline has much to read: it is not asked. In observe mode nobody is to stop."""
    exporter, _, log, _ = site
    answer = json.loads(exporter.get("/v1/sessions/s/budget?agent_id=a")[1])
    assert answer == {
        "agent_id": "a",
        "session_id": "s",
        "task_type": "default",
        "tokens": {"used": 1201, "max": 1000, "left": 0},
        "cost_usd": None,
        "enforced": False,
        "stop": False,
    }
    fresh = json.loads(exporter.get("/v1/sessions/new%2F1/budget?agent_id=a")[1])
    assert (fresh["session_id"], fresh["tokens"]["left"], fresh["stop"]) == ("new/1", 1000, False)
    for n in range(2_000):
        say(log, 1, f"many-{n % 50}")
    times = []
    for _ in range(50):
        began = time.monotonic()
        exporter.get("/v1/sessions/s/budget?agent_id=a")
        times.append(time.monotonic() - began)
    print(f"a budget's answer: median {sorted(times)[25] * 1000:.1f} ms, slowest {max(times) * 1000:.1f} ms")
    assert exporter.get("/v1/sessions/s/budget")[0] == 200


def test_of_an_id_that_several_agents_use_one_has_to_be_named():
    sessions = Sessions(lambda _: 300.0, lambda _: None, lambda _: None)
    from agent_exporter.action import decode  # noqa: PLC0415

    for agent in "ab":
        sessions.add(
            decode(
                b'{"timestamp":"2026-03-18T09:00:00Z","agent_id":"%s","session_id":"s","action":"x","status":"success"}'
                % agent.encode()
            ),
            0.0,
        )
    config = parse("task_types: {batch: {session_tokens: 7, session_cost_usd: 2}}")
    with pytest.raises(LookupError, match="several agents"):
        budget(sessions, config, "s", None, "default", lambda _: True)
    assert budget(sessions, config, "s", "a", "default", lambda _: True)["agent_id"] == "a"
    assert budget(sessions, config, "t", None, "batch", lambda _: True) == {
        "agent_id": None,
        "session_id": "t",
        "task_type": "batch",
        "tokens": {"used": 0, "max": 7, "left": 7},
        "cost_usd": {"used": 0.0, "max": 2.0, "left": 2.0},
        "enforced": True,
        "stop": False,
    }


def test_what_anybody_can_write_has_no_agent_stop_itself():
    """With agents.NAME.trusted_sources only the lines count that the breaker counts, and the type that they tell."""
    from agent_exporter.action import decode  # noqa: PLC0415

    sessions = Sessions(lambda _: 300.0, lambda _: None, lambda _: None)
    action = decode(
        b'{"timestamp":"2026-03-18T09:00:00Z","agent_id":"a","session_id":"s","action":"x","status":"success",'
        b'"tokens":{"prompt":90000},"metadata":{"task_type":"tiny"}}'
    )
    sessions.add(action, 0.0)
    config = parse('task_types: {tiny: {session_tokens: 7}}\nagents: {a: {trusted_sources: ["/logs/a/*"]}}')
    asked = {"agent_id": "a", "session_id": "s", "cost_usd": None, "enforced": True}
    assert budget(sessions, config, "s", "a", "default", lambda _: True) == asked | {
        "task_type": "default",
        "tokens": {"used": 0, "max": 50_000, "left": 50_000},
        "stop": False,
    }
    sessions.get("a", "s").attest(action, 3.0)
    assert budget(sessions, config, "s", "a", "default", lambda _: True) == asked | {
        "task_type": "tiny",
        "tokens": {"used": 90_000, "max": 7, "left": 0},
        "stop": True,
    }

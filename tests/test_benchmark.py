"""Benchmarks: what a run tells, and how runs are kept, scheduled and recorded."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import signal

import pytest
import yaml
from conftest import HERE, LOGS, line
from running import Running, eventually
from standin import Agent, said
from test_probes import in_virtual_time

from agent_exporter.benchmark import schedule
from agent_exporter.benchmark.history import MAX_RUNS, ROW_KIND, History, Run, latest
from agent_exporter.benchmark.run import FLOOR, Outcome, Report, Unanswered, run
from agent_exporter.benchmark.schedule import AGAIN, SOON, Schedule
from agent_exporter.benchmark.suite import load
from agent_exporter.cli import command
from agent_exporter.config import parse
from agent_exporter.config.strict import ConfigError
from agent_exporter.probes.endpoint import Endpoint
from agent_exporter.probes.timers import JITTER
from agent_exporter.state import FORMAT, SQLiteStore, Unavailable, peek

SUITE = """
cases:
  - {name: sum, input: "What is 127 + 385?", expect: {number: 512}}
  - {name: word, input: "Say OK", expect: {exact: OK}}
  - {input: {prompt: "Say OK", max_tokens: 4}, expect: {contains: O, regex: "^O.$"}}
"""


def written(tmp_path, text: str = SUITE):
    """A suite's file."""
    path = tmp_path / "golden.yaml"
    path.write_text(text)
    return path


def report(agent: Agent, path, **more) -> Report:
    """One run."""
    return asyncio.run(run(load(path), Endpoint(agent.url), agent="a", name="golden", **more))


# --- a suite -------------------------------------------------------------------------------------------------------


def test_every_fault_of_a_suite_is_told_at_once(tmp_path):
    """With its path."""
    path = written(
        tmp_path,
        """
        request: {path: "@elsewhere"}
        cases:
          - {name: a, input: x, expect: {exact: y}}
          - {name: a, input: "", expect: {}}
          - {input: 5, expect: {tolerance: 1, exact: 1}}
        """,
    )
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [fault.removeprefix(f"{path}: ") for fault in caught.value.faults] == [
        "request.path: must begin with / and be as it goes over HTTP, not '@elsewhere'",
        "cases: 2 of them are named 'a'",
        "cases[1].input: must be text or a mapping, and not empty",
        "cases[1].expect: needs one of exact, contains, regex, json, number, similar",
        "cases[2].input: must be text or a mapping, and not empty",
        "cases[2].expect.tolerance: has no meaning without number",
    ]
    for text, fault in (
        (
            "cases: [{input: x, expect: {exakt: y}}, {input: x}]",
            "cases[0].expect.exakt: unknown key; did you mean exact?",
        ),
        ("", "cases: must be 1 to 1,000, not 0"),
        ("case: []", "case: unknown key; did you mean cases?"),
    ):
        with pytest.raises(ConfigError, match=re.escape(fault)):
            load(written(tmp_path, text))


def test_check_config_looks_into_the_suites_that_are_there(tmp_path, capsys):
    """Exit code 2; one that is elsewhere is only named."""
    path = written(tmp_path, "cases: []")
    config = tmp_path / "config.yaml"
    text = "agents: {a: {endpoint: 'http://h'}}\nbenchmarks: {golden: {suite: %s, agents: [a]}}\n"
    config.write_text(text % path)
    assert command(["check-config", str(config)]) == 2
    assert capsys.readouterr().err == f"{path}: cases: must be 1 to 1,000, not 0\n"
    config.write_text(text % (tmp_path / "gone.yaml"))
    assert command(["check-config", str(config)]) == 0
    assert "benchmarks.golden.suite: " in capsys.readouterr().out


# --- a run ---------------------------------------------------------------------------------------------------------


def test_a_run_gives_each_input_to_the_agent_and_judges_its_answer(tmp_path):
    """Text goes into the request's body, a mapping is the body."""
    with Agent() as agent:
        done = report(agent, written(tmp_path), repetitions=2)
        assert [body for *_, body in agent.requests[::2]] == [
            {"prompt": "What is 127 + 385?"},
            {"prompt": "Say OK"},
            {"prompt": "Say OK", "max_tokens": 4},
        ]
    assert [outcome._replace(seconds=0) for outcome in done.outcomes] == [
        Outcome("sum", 2, 2, 0, None), Outcome("word", 2, 2, 0, None), Outcome("case 3", 2, 2, 0, None),
    ]  # fmt: skip
    assert (done.passed, done.of, done.ratio, done.regressed) == (6, 6, 1, False)


def test_a_suite_may_go_to_another_endpoint_in_another_shape(tmp_path):
    """Path, body, status and what is judged."""
    path = written(
        tmp_path,
        """
        request:
          path: /chat
          body: {messages: [{role: user, content: "Q: {input}"}]}
          status: 201
          jmespath: choices[0].text
        cases: [{input: hello, expect: {exact: "Q: hello"}}]
        """,
    )
    with Agent() as agent:
        agent.answers["/chat"] = lambda body: said({"choices": [{"text": body["messages"][0]["content"]}]}, 201)
        assert report(agent, path).ratio == 1


def test_wrong_answers_and_errors_do_not_pass(tmp_path):
    """Each with its reason."""
    answers = iter([said({"response": "5120"}), said({}, 429), (200, {}, b"<html>")])
    with Agent() as agent:
        agent.answers["/v1/test"] = lambda _: next(answers)
        done = report(agent, written(tmp_path))
    assert [outcome.why for outcome in done.outcomes] == [
        "the answer does not contain the number 512: '5120'",
        "HTTP status 429, not 200",
        "the answer is not JSON: '<html>'",
    ]
    assert done.regressed


def test_an_agent_that_does_not_answer_at_all_makes_no_run(tmp_path):
    """It is down, which health checks tell; its answers are not worse. After three inputs it is let go."""
    path = written(tmp_path, SUITE + "  - {input: a, expect: {exact: b}}\n")
    with Agent() as agent:
        agent.answers["/v1/test"] = (503, {}, b"")
        with pytest.raises(Unanswered, match="HTTP status 503"):
            report(agent, path)
        assert len(agent.requests) == 3
    with pytest.raises(Unanswered, match="Connection refused"):
        report(agent, path)


def test_the_floor_is_that_of_the_alert():
    """A run that the command calls regressed fires, and no other."""
    [alert] = [
        rule
        for group in yaml.safe_load((HERE.parent / "alert_rules" / "drift.rules.yml").read_text())["groups"]
        for rule in group["rules"]
        if rule.get("alert") == "AgentBenchmarkRegressed"
    ]
    assert f"agent_benchmark_passed_ratio) < {FLOOR})" in alert["expr"]


# --- history -------------------------------------------------------------------------------------------------------


def kept(passed: int, at: float = 1.0, agent: str = "a") -> Report:
    """A run of two answers."""
    return Report(agent, "golden", at, [Outcome("x", passed, 2, 0.1, None)])


def test_history_keeps_the_latest_runs_and_survives_as_rows():
    """Bounded; with the names of what failed."""
    history, rows = History(), {}
    for number in range(MAX_RUNS + 20):
        for kind, key, value in history.add(kept((number + 1) % 3, number)):
            assert kind == ROW_KIND
            rows[key] = value
    again = History(rows.items())
    last = Run(MAX_RUNS + 19.0, 0, 2, ["x"])
    assert again.last("a", "golden") == last == history.last("a", "golden")
    assert list(latest(rows.items())) == [("a", "golden", last)]
    assert len(again._kept[next(iter(rows))].runs) == MAX_RUNS
    assert history.last("a", "other") is None


def test_history_forgets_what_the_config_no_longer_names():
    """Agents, suites and pairs."""
    history = History()
    for agent in ("a", "b", "c"):
        history.add(kept(2, agent=agent))
    config = parse(
        "agents: {a: {endpoint: 'http://h'}, b: {endpoint: 'http://h'}}\nbenchmarks: {golden: {suite: x, agents: [a]}}"
    )
    assert [value for _, _, value in history.keep_only(config)] == [None, None]
    assert [history.last(agent, "golden") is not None for agent in ("a", "b", "c")] == [True, False, False]


def test_a_state_file_that_is_in_use_can_be_peeked_at(tmp_path):
    """One of another format cannot, and none holds nothing."""
    path = tmp_path / "state.db"
    assert peek(path, ROW_KIND) == []
    store = SQLiteStore(path)
    store.commit([(ROW_KIND, "k", b"v"), ("other", "k", b"w")])
    assert peek(path, ROW_KIND) == [("k", b"v")]
    store._database.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(Unavailable, match=f"format {FORMAT + 1}"):
        peek(path, ROW_KIND)
    store.close()
    path.write_text("no database, " * 99)
    with pytest.raises(Unavailable, match="not a database"):
        peek(path, ROW_KIND)


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(tmp_path, capsys):
    """Runs the command with some agents: exit code, output with plain numbers, what it says."""

    def call(agents: dict[str, str], *arguments: str) -> tuple[int, str, str]:
        config = {
            "agents": {name: {"endpoint": url} for name, url in agents.items()},
            "benchmarks": {"golden": {"suite": str(written(tmp_path)), "agents": [*agents], "repetitions": 2}},
            "state": {"path": str(tmp_path / "state.db")},
        }
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps(config))
        code = command(["benchmark", "--config", str(path), *arguments])
        said = capsys.readouterr()
        plain = re.sub(r"\d{4}-\d\d-\d\dT[\d:]{8}Z", "2026-03-18T09:15:32Z", said.out)
        plain = re.sub(r"\d+\.\d s", "0.8 s", re.sub(r'(?<="duration_ms": )[0-9.]+', "800.0", plain))
        return code, plain, said.err.replace(str(tmp_path), "")

    return call


def test_benchmark_prints_a_table_and_compares_with_the_last_run(bench, tmp_path, golden):
    """Exit code 0 if all is well, 1 if it has regressed."""
    SQLiteStore(tmp_path / "state.db").close()
    with Agent() as agent:
        first = bench({"a": agent.url})
        agent.answer = lambda prompt: "5120" if "+" in prompt else "OK"
        second = bench({"a": agent.url}, "golden")
        third = bench({"a": agent.url})
    assert [code for code, *_ in (first, second, third)] == [0, 1, 1]
    assert [err for *_, err in (first, second, third)] == ["", "", ""]
    golden("benchmark.txt", first[1] + second[1] + third[1])


def test_benchmark_prints_json(bench, golden):
    """For programs."""
    with Agent(lambda prompt: "5120" if "+" in prompt else "OK") as agent:
        code, printed, err = bench({"a": agent.url}, "--json")
    assert (code, err) == (1, "")
    golden("benchmark.json", printed)


def test_a_run_beside_the_running_exporter_is_compared_and_not_kept(bench, tmp_path):
    """Its state file is only read."""
    store = SQLiteStore(tmp_path / "state.db")
    store.commit(History().add(kept(2, 1_773_825_332)))
    with Agent() as agent:
        code, printed, err = bench({"a": agent.url})
    assert code == 0
    assert "; before: 100%, 2026-03-18T09:15:32Z" in printed
    assert "and not kept (/state.db is in use by another agent-exporter" in err
    assert latest(store.rows(ROW_KIND)).__next__()[2].at == 1_773_825_332
    store.close()


def test_an_agent_that_is_down_does_not_keep_the_others_from_being_run(bench):
    """Exit code 1, and a sentence."""
    with Agent() as agent:
        code, printed, err = bench({"down": "http://127.0.0.1:1", "a": agent.url})
    assert code == 1
    assert "golden on a: 6 of 6 passed (100%)" in printed
    assert err == "agent-exporter: golden cannot be run on down: no answer: Connection refused\n"


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["nothing"], 2, "no benchmark 'nothing' in the file of --config: there are golden"),
        (["--agent", "b"], 2, "no agent 'b' under agents in the file of --config, or it is retired"),
    ],
)
def test_wrong_use_is_a_sentence(arguments, code, sentence, bench):
    """Exit code 2."""
    assert bench({"a": "http://127.0.0.1:1"}, *arguments) == (code, "", f"agent-exporter: {sentence}\n")


def test_benchmark_without_a_config_is_wrong_use(capsys):
    """Nobody is named."""
    assert command(["benchmark"]) == 2
    assert capsys.readouterr().err == "agent-exporter: no benchmarks in the file of --config\n"


# --- recording -----------------------------------------------------------------------------------------------------


def recorded(capsys, tmp_path, *lines: bytes, agent: str | None = None) -> tuple[int, str, str]:
    """Exit code, suite, what was said."""
    path = tmp_path / "agents.log"
    path.write_bytes(b"\n".join(lines))
    code = command(["benchmark", "--record", str(path), *(["--agent", agent] if agent else [])])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_suite_is_recorded_from_good_sessions(capsys, tmp_path):
    """The first input and the last output of each; what is not good, or not told, is left out."""
    lines = [
        line(session_id="text", input={"query": "capital?"}, output={"rows": 3}, timestamp="2026-03-18T09:00:00Z"),
        line(session_id="text", input={"x": 1}, output={"text": "Paris.", "confidence": 0.9}, timestamp="2026-03-18T09:00:01Z"),
        line(session_id="json", input={"order": 5}, output={"state": "sent", "request_id": "9f86d081", "confidence": 0.5}),
        line(session_id="again", input={"query": "capital?"}, output={"text": "Rome."}),
        line(session_id="failed", input={"query": "a"}, output={"text": "b"}, status="error"),
        line(session_id="retried", input={"query": "c"}, output={"text": "d"}, metadata={"retry_count": 1}),
        line(session_id="incomplete", input={"query": "e"}, output={"text": "f"}, metadata={"task_completed": False}),
        line(session_id="disliked", input={"query": "g"}, output={"text": "h"}, metadata={"feedback": -0.5}),
        line(session_id="silent", input={"query": "i"}),
        b"no JSON",
    ]  # fmt: skip
    code, suite, err = recorded(capsys, tmp_path, *lines)
    assert code == 0
    assert yaml.safe_load(suite) == {
        "cases": [
            {"input": "capital?", "expect": {"similar": "Paris."}},
            {"input": {"order": 5}, "expect": {"json": {"state": "sent"}}},
        ]
    }
    assert err == "agent-exporter: good sessions: 4 of 8; cases: 2, with different inputs\n"


def test_what_is_recorded_is_a_suite_that_the_same_agent_passes(capsys, tmp_path):
    """Real runs, read back and asked."""
    assert command(["benchmark", "--record", str(LOGS / "tau-airline-gpt4o.ndjson.gz")]) == 0
    path = written(tmp_path, capsys.readouterr().out)
    known = {case.input: case.expect.similar for case in load(path).cases}
    assert len(known) == 50
    with Agent(known.__getitem__) as agent:
        assert report(agent, path).ratio == 1


def test_a_log_that_makes_no_suite_says_why(capsys, tmp_path):
    """Exit code 1; 2 if it is not there."""
    two = [line(agent_id=name, input={"query": "a"}, output={"text": "b"}) for name in ("a", "b")]
    assert recorded(capsys, tmp_path, *two) == (
        1, "", "agent-exporter: sessions of 2 agents: name one with --agent: a, b\n",
    )  # fmt: skip
    assert recorded(capsys, tmp_path, *two, agent="b")[0] == 0
    assert recorded(capsys, tmp_path, *two, agent="c") == (
        1, "", "agent-exporter: none of 0 sessions is good and has both an input and an output\n",
    )  # fmt: skip
    assert command(["benchmark", "--record", "nowhere.log"]) == 2


# --- the schedule, in virtual time ---------------------------------------------------------------------------------


def scheduled(monkeypatch, seconds: float, last: Run | None = None, fails=lambda _: False) -> list[float]:
    """When a suite ran that is due every day."""
    times: list[float] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()

        async def fake(*_, **__) -> Report:
            times.append(loop.time())
            if fails(loop.time()):
                raise Unanswered("no")
            return kept(2, loop.time())

        monkeypatch.setattr(schedule, "run", fake)
        monkeypatch.setattr(schedule, "load", lambda _: None)
        monkeypatch.setattr(schedule.time, "time", loop.time)
        config = parse(
            "agents: {a: {endpoint: 'http://h'}, b: {endpoint: 'http://h'}}\n"
            "benchmarks: {golden: {suite: x, agents: [a], interval: 1d}, by-hand: {suite: x, agents: [b]}}"
        )
        await Schedule(lambda *_: last, lambda _: None).configure(config)
        await asyncio.sleep(seconds)

    in_virtual_time(work)
    return times


def test_a_suite_runs_at_its_interval_and_one_without_an_interval_never(monkeypatch):
    """For the first time within a minute."""
    times = scheduled(monkeypatch, 5 * 86_400)
    assert times[0] <= SOON
    assert 4 <= len(times) <= 6
    assert all(abs(after - before - 86_400) <= 86_400 * JITTER for before, after in itertools.pairwise(times))


def test_a_restart_does_not_run_what_was_run_lately(monkeypatch):
    """It waits for the rest of the interval: a run costs."""
    [first, *_] = scheduled(monkeypatch, 2 * 86_400, last=Run(-3600.0, 1, 1))
    assert first == pytest.approx(86_400 - 3600)


def test_a_run_that_could_not_be_made_is_tried_again_soon(monkeypatch, caplog):
    """Not a day later."""
    times = scheduled(monkeypatch, 86_400 / 2, fails=lambda now: now < 1000)
    assert 4 <= len(times) <= 6
    assert times[-1] <= 1000 + AGAIN * (1 + JITTER)
    assert "benchmark 'golden' cannot be run on 'a': no" in caplog.text


# --- in the running exporter ---------------------------------------------------------------------------------------


def test_run_shows_a_scheduled_run_and_a_restart_keeps_it(tmp_path, monkeypatch):
    """Until the config no longer wants it."""
    with Agent(lambda prompt: "5120" if "+" in prompt else "OK") as agent:
        config = {
            "agents": {"a": {"endpoint": agent.url, "health_checks": []}},
            "benchmarks": {"golden": {"suite": str(written(tmp_path)), "agents": ["a"], "interval": "1s"}},
            "state": {"path": str(tmp_path / "state.db")},
        }
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps(config))
        of_a = (("agent_id", "a"), ("suite", "golden"))
        with Running("--config", path) as running:
            ratio = eventually(lambda: running.samples().get("agent_benchmark_passed_ratio", {}).get(of_a))
            assert ratio == pytest.approx(2 / 3)
            assert any("benchmark 'golden': 'a' passes 2 of 3, fails 'sum'" in row for row in running.log)
            assert running.stop() == 0
        config["benchmarks"]["golden"]["interval"] = "1h"
        path.write_text(json.dumps(config))
        asked = len(agent.requests)
        with Running("--config", path).ready() as running:
            assert running.samples()["agent_benchmark_passed_ratio"][of_a] == pytest.approx(2 / 3)
            assert running.samples()["agent_benchmark_timestamp_seconds"][of_a] > 1_700_000_000
            del config["benchmarks"]
            path.write_text(json.dumps(config))
            running.process.send_signal(signal.SIGHUP)
            eventually(lambda: "agent_benchmark_passed_ratio" not in running.samples())
        assert len(agent.requests) == asked
    assert peek(tmp_path / "state.db", ROW_KIND) == []

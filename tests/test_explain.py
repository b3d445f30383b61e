"""`explain`: one task out of logs, what went wrong first in it, and that nothing in a log can do more than be read."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from conftest import LOGS
from detecting import Exporter, at, call, line
from hypothesis import example, given
from hypothesis import strategies as st
from running import ROOT
from test_spans import Collector, attributes

from agent_exporter.action import trace_id_of
from agent_exporter.cli import command
from agent_exporter.config import parse
from agent_exporter.explain import Missing, explain, log, page, search
from agent_exporter.explain.terminal import cut, cut_end, pad, safe, width, wrap
from agent_exporter.explain.unpack import open_logs
from agent_exporter.lineage import own_trace

OUTAGE = str(LOGS / "outage.ndjson")
CHAIN = str(LOGS / "chain.ndjson")
CHAIN_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
NOW = 1_790_000_000.0
"""A clock later than all lines of these tests."""


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = command(["explain", *map(str, arguments)])
    return code, out.getvalue(), err.getvalue()


def shown(*arguments: str) -> str:
    """What is printed if all is well."""
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    return out


def written(path, *lines: bytes) -> str:
    """A log."""
    path.write_bytes(b"".join(text + b"\n" for text in lines))
    return str(path)


def found(path: str, config: str = "", **asked):
    """The answer as values."""
    with open_logs([path], lambda _: None, NOW) as logs:
        return explain(parse(config), logs, **asked)


@pytest.mark.parametrize("second", [
    line(361, duration_ms=59_000),
    line(361, duration_ms=61_000),
    line(901, duration_ms=900_000),
])  # fmt: skip
def test_explain_and_the_metrics_agree_on_how_many_sessions_an_id_was(tmp_path, second):
    """One that is idle for too long ends; a call that began in time goes on with it.

    The limit that docs/log-schema.md names: of two calls at once, the line of the long one comes when the shorter one
    has begun a session of its own.
    """
    parallel = [line(542, duration_ms=1_000, parent_trace_id="t"), line(601, duration_ms=600_000, parent_trace_id="t")]
    for lines in ([line(0), second], [line(0.1, parent_trace_id="t"), *parallel]):
        opened = []
        exporter = Exporter()
        note = exporter.stages.sessions._opened
        exporter.stages.sessions._opened = lambda session, note=note, opened=opened: (
            opened.append(session),
            note(session),
        )
        exporter.read(*lines).findings()
        [task] = found(written(tmp_path / "log", *lines), session="s").tasks
        assert task.sessions == len(opened)


# --- what is printed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("outage", ["--trace", "refund-4711", OUTAGE]),
        ("outage-content", ["--trace", "refund-4711", "--content", OUTAGE]),
        ("outage-healthy", ["--session", "sup-82", OUTAGE]),
        ("outage-agent", ["--agent", "support-agent", "--since", "1m", OUTAGE]),
        ("chain", ["--trace", CHAIN_TRACE, CHAIN]),
        ("airline-loop", ["--session", "sess_airline_9_2_109", str(LOGS / "tau-airline-gpt4o.ndjson.gz")]),
    ],
)
def test_a_task_is_a_tree_and_two_sentences(name, arguments, golden):
    """At 100 columns, without colour, as it was looked at."""
    golden(f"explain-{name}.txt", shown(*arguments))


def test_the_document_has_all_of_it(golden):
    """The same as JSON; with --content also what the first failure was given."""
    golden("explain-outage.json", shown("--trace", "refund-4711", "--json", OUTAGE))
    first = json.loads(shown("--trace", "refund-4711", "--json", "--content", OUTAGE))["tasks"][0]["first"]
    assert json.loads(first["input"])["amount"] == "49.90"
    assert first["error"] == "no answer from ledger:5432 in 10 s"


def test_content_is_shown_only_when_asked_for():
    """Neither inputs nor outputs nor error messages."""
    for more in ([], ["--json"]):
        told = shown("--trace", "refund-4711", OUTAGE, *more)
        assert "4711," not in told
        assert "49.90" not in told
        assert "no answer" not in told


class Terminal(io.StringIO):
    """Standard output of somebody who looks."""

    def isatty(self):
        return True


def on_a_terminal(monkeypatch, columns: int) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    assert command(["explain", "--trace", "refund-4711", OUTAGE]) == 0
    return terminal.getvalue()


def test_a_terminal_gets_colours_and_its_own_width(monkeypatch):
    """And with NO_COLOR the very text that a file gets."""
    monkeypatch.setenv("NO_COLOR", "1")
    plain = on_a_terminal(monkeypatch, 120)
    assert "\x1b" not in plain
    assert 110 < max(map(width, plain.splitlines())) <= 120
    monkeypatch.delenv("NO_COLOR")
    coloured = on_a_terminal(monkeypatch, 120)
    assert "\x1b[31m▲ ledger-agent failed first" in coloured
    for code in ("1", "2", "31"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured.replace("\x1b[0m", "") == plain


def test_standard_output_that_has_no_arrows_gets_question_marks():
    """LANG=C of an old machine is no reason to say nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "agent_exporter", "explain", "--trace", "refund-4711", OUTAGE],
        cwd=ROOT, capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )  # fmt: skip
    assert b"? ledger-agent failed first" in done.stdout
    assert done.stdout.isascii()


def test_what_is_not_there_is_a_sentence_and_exit_code_1(tmp_path):
    """With what else the name may be."""
    empty = written(tmp_path / "empty.log")
    assert run("--trace", "nope", OUTAGE, empty) == (1, "", "agent-exporter: no line names the trace 'nope'\n")
    assert run("--session", "nope", empty) == (1, "", "agent-exporter: no line is of the session 'nope'\n")
    assert run("--trace", "sup-81", OUTAGE) == (
        1, "", "agent-exporter: no line names the trace 'sup-81', but there is such a name of a session: try --session\n",
    )  # fmt: skip
    assert run("--session", "refund-4711", OUTAGE)[2].endswith("there is such a name of a trace: try --trace\n")
    assert run("--agent", "ledger-agent", "--since", "5s", OUTAGE) == (
        1, "", "agent-exporter: agent 'ledger-agent' did nothing in the last 5 s of the log: its last action was at 2026-03-18T02:58:27Z\n",
    )  # fmt: skip
    assert run("--agent", "nope", OUTAGE) == (1, "", "agent-exporter: no line is of the agent 'nope'\n")
    almost = written(tmp_path / "almost.log", b'{"parent_trace_id": "almost"}', b"almost")
    assert run("--trace", "almost", almost)[2] == (
        "agent-exporter: no line names the trace 'almost'; "
        "2 lines that may belong to it were rejected; `agent-exporter validate` says why\n"
    )
    assert run("--trace", "\x1b[2J", OUTAGE)[2] == "agent-exporter: no line names the trace '\\x1b[2J'\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--trace", "t", "nowhere.log"], "nowhere.log: No such file or directory"),
        (["--trace", "t", "--since", "1h", OUTAGE], "--since goes with --agent"),
        (["--trace", "t", "--config", "nowhere.yaml", OUTAGE], "nowhere.yaml"),
        (["--trace", "t", "."], "Is a directory"),
    ],
)
def test_wrong_use_is_exit_code_2(arguments, sentence):
    """And a sentence."""
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err


@pytest.mark.parametrize(
    "arguments", [[OUTAGE], ["--trace", "t"], ["--trace", "t", "--agent", "a", OUTAGE], ["--trace", "", OUTAGE]]
)
def test_what_to_explain_is_one_thing(arguments, capsys):
    """argparse's own exit code is 2."""
    with pytest.raises(SystemExit) as ended:
        command(["explain", *arguments])
    assert ended.value.code == 2
    capsys.readouterr()


# --- which lines ---------------------------------------------------------------------------------------------------


def test_whatever_wraps_the_lines_the_answer_is_the_same(tmp_path):
    """Plain, packed, with a byte order mark, docker, CRI in pieces, an agent a file, and from a pipe or a file on stdin."""
    wanted = shown("--trace", "refund-4711", OUTAGE)
    lines = (LOGS / "outage.ndjson").read_bytes().splitlines()
    by_agent = defaultdict(list)
    for text in lines:
        by_agent[json.loads(text)["agent_id"]].append(text)
    for agent, own in by_agent.items():
        written(tmp_path / f"{agent}.log", *own)
    docker = [
        json.dumps({"log": text.decode() + "\n", "stream": "stdout", "time": "2026-03-18T09:00:00Z"}).encode()
        for text in lines
    ]
    cri = [
        piece
        for text in lines
        for piece in (b"2026-03-18T09:00:00Z stdout P " + text[:90], b"2026-03-18T09:00:00Z stdout F " + text[90:])
    ]
    (tmp_path / "x.gz").write_bytes(gzip.compress((LOGS / "outage.ndjson").read_bytes()))
    for paths in (
        [tmp_path / "*-agent.log"],
        [written(tmp_path / "bom", b"\xef\xbb\xbf" + lines[0], *lines[1:])],
        [written(tmp_path / "docker", *docker)],
        [written(tmp_path / "cri", *cri)],
        [written(tmp_path / "crlf", *(text + b"\r" for text in lines))],
        [written(tmp_path / "backwards", *reversed(lines))],
        [tmp_path / "x.gz"],
        [OUTAGE, OUTAGE],
    ):
        assert shown("--trace", "refund-4711", *paths) == wanted, paths
    arguments = [sys.executable, "-m", "agent_exporter", "explain", "--trace", "refund-4711", "-"]
    piped = subprocess.run(arguments, input=b"\n".join(lines), cwd=ROOT, capture_output=True, check=True)
    assert piped.stdout.decode() == wanted
    with (LOGS / "outage.ndjson").open("rb") as opened:
        from_file = subprocess.run(arguments, stdin=opened, cwd=ROOT, capture_output=True, check=True)
    assert from_file.stdout.decode() == wanted


def test_a_log_that_breaks_off_is_read_up_to_there(tmp_path):
    """A .gz that was cut, with a word about it; a last line without its end."""
    lines = (LOGS / "outage.ndjson").read_bytes()
    whole = gzip.compress(b"".join(random.Random(1).randbytes(50_000).hex().encode() + b"\n" for _ in range(4)), 1)
    (tmp_path / "x.gz").write_bytes(gzip.compress(lines) + whole[: len(whole) // 2])
    code, out, err = run("--trace", "refund-4712", str(tmp_path / "x.gz"))
    assert code == 1
    assert out == shown("--trace", "refund-4712", OUTAGE)
    assert "Compressed file ended" in err
    (tmp_path / "cut").write_bytes(lines[:-40])
    assert found(str(tmp_path / "cut"), trace="refund-4711").tasks[0].sums.actions == 15


def test_a_trace_has_the_name_of_its_lines_and_that_of_the_viewer(tmp_path):
    """Also where a name is escaped in some way, and where a session has no trace but itself."""
    names = ["order-1", 'Grüße/№ 7 <"x">', "日本語", "4BF92F3577B34DA6A3CE929D0E0E4736", "\u2028"]
    lines = [line(number, session_id=f"s{number}", parent_trace_id=name) for number, name in enumerate(names)]
    lines += [json.dumps(json.loads(text), ensure_ascii=False).replace("/", "\\/").encode() for text in lines]
    path = written(tmp_path / "log", *lines, line(9, session_id="alone"))
    for name in names:
        for asked in (name, trace_id_of(name), trace_id_of(name).upper()):
            [task] = found(path, trace=asked).tasks
            assert (task.trace_id, task.names, task.sessions) == (trace_id_of(name), [name], 1)
    [task] = found(path, trace=trace_id_of(own_trace("a", "alone"))).tasks
    assert (task.names, task.sums.actions) == ([], 1)
    with pytest.raises(Missing):
        found(path, trace="0" * 31 + "1")


def test_w3c_ids_win_and_both_names_lead_to_the_task(tmp_path):
    """An agent with OpenTelemetry logs the hash of what others log the name of."""
    hashed = trace_id_of("order-1")
    path = written(
        tmp_path / "log",
        line(0, parent_trace_id="order-1"),
        line(
            1,
            agent_id="b",
            session_id="s2",
            trace_id=hashed,
            parent_trace_id="other",
            metadata={"parent_agent_id": "a"},
        ),
        line(2, agent_id="c", parent_trace_id="other"),
    )
    assert [task.agents for task in found(path, trace="order-1").tasks] == [["a", "b"]]
    assert [task.agents for task in found(path, trace=hashed).tasks] == [["a", "b"]]
    assert [task.agents for task in found(path, session="s2").tasks] == [["a", "b"]]
    assert sorted(task.agents for task in found(path, trace="other").tasks) == [["a", "b"], ["c"]]


def test_a_session_shows_each_task_that_it_worked_on(tmp_path):
    """With the session marked, and sessions of others of that name, too."""
    path = written(
        tmp_path / "log",
        *(line(n, parent_trace_id=f"t{n}", metadata={"session_end": True}) for n in range(3)),
        line(3, agent_id="b", session_id="s"),
        line(4, agent_id="b", session_id="other", parent_trace_id="t1", metadata={"parent_agent_id": "a"}),
    )
    answer = found(path, session="s")
    assert [(task.names, task.agents) for task in answer.tasks] == [
        (["t1"], ["a", "b"]), ([], ["b"]), (["t2"], ["a"]), (["t0"], ["a"])
    ]  # fmt: skip
    text = shown("--session", "s", path)
    assert (text.count("▶ a s"), text.count("▶ b s")) == (2, 1)
    assert "t0" in text.splitlines()[-1]


def test_an_agents_tasks_are_the_worst_first_and_bounded(tmp_path, monkeypatch):
    """Three in full, some in a line each, the others counted; a task that began before is shown whole.

    If there are too many to look into, the latest are, and before them those in which something went wrong.
    """
    lines = [line(-50, parent_trace_id="t0")]
    lines += [line(10 * n, session_id=f"s{n}", parent_trace_id=f"t{n}") for n in range(40)]
    lines.append(line(205, session_id="s20", parent_trace_id="t20", metadata={"retry_count": 9}))
    path = written(tmp_path / "log", *lines, line(1000, agent_id="b", action="heartbeat"))
    text = shown("--agent", "a", path, "--since", "1000s")
    assert text.startswith("40 tasks, the worst first; the log ends at 2026-03-18 09:16:40 UTC\n")
    assert [row for row in text.splitlines() if row.startswith("Task ")] == ["Task t20", "Task t39", "Task t38"]
    assert text.endswith("\n… 17 more tasks left out; a shorter --since has fewer, --trace NAME shows one\n")
    monkeypatch.setattr(search, "MAX_TASKS", 5)
    answer = found(path, agent="a", since=1000.0)
    assert ([task.names for task in answer.tasks], answer.more) == ([["t20"], ["t39"], ["t38"], ["t37"], ["t36"]], 35)
    assert [task.ended - task.started for task in found(path, trace="t0").tasks] == [50]


def test_a_huge_task_is_looked_at_as_far_as_it_fits(tmp_path, monkeypatch):
    """Its tree keeps what happened, and says how much it leaves out."""
    monkeypatch.setattr(search, "MAX_LINES", 500)
    monkeypatch.setattr(page, "MAX_LINES", 500)
    lines = [line(n, action=f"step{n % 7}", parent_trace_id="t") for n in range(600)]
    lines[400] = line(400, action="break", status="error", parent_trace_id="t")
    text = shown("--trace", "t", written(tmp_path / "log", *lines))
    assert "500 actions, 1 failed" in " ".join(text.split())
    assert "break" in text
    assert len(text.splitlines()) < 150
    assert "more actions; --json has all of them" in text
    assert text.endswith("\n… 100 more lines left out: the first 500 are looked at\n")


def test_a_log_is_read_about_once(tmp_path, monkeypatch):
    """Searching is reading: beside that a few blocks around the task, and the first records of the others."""
    filler = [line(n, agent_id=f"f{n % 50}", session_id=f"s{n}", input="x" * 300) for n in range(20_000)]
    filler[15_000:15_000] = [line(15_000, parent_trace_id="t", tokens={"prompt": 5})]
    path = written(
        tmp_path / "log", *(line(n / 4, session_id=f"p{n}", tokens={"prompt": 5}) for n in range(100)), *filler
    )
    read = 0
    pread, preadv = os.pread, os.preadv

    def counted(*arguments):
        nonlocal read
        got = pread(*arguments)
        read += len(got)
        return got

    def counted_v(*arguments):
        nonlocal read
        got = preadv(*arguments)
        read += got
        return got

    monkeypatch.setattr(log.os, "pread", counted)
    monkeypatch.setattr(log.os, "preadv", counted_v)
    assert found(path, agent="f7", since=60.0).tasks
    size = Path(path).stat().st_size
    assert read < size / 2
    read = 0
    assert found(path, trace="t").tasks[0].sums.actions == 1
    assert size < read < 2.6 * size  # the average of an action this rare takes all that is before


def test_progress_is_told_of_every_window(tmp_path):
    """So that a long search can be seen to move."""
    path = written(tmp_path / "log", *(line(n, input="x" * 1000) for n in range(300)))
    steps = []
    with open_logs([path], lambda reading: steps.append(reading.progress()), NOW) as logs:
        explain(parse(""), logs, session="s")
    size = Path(path).stat().st_size
    assert steps == sorted(steps)
    assert [step for step in steps if step[0] == step[1]] == [(size, size)]


# --- the same as the rest of the program ----------------------------------------------------------------------------

CONFIG = """
detectors: {action_anomaly: {window_size: 6, min_samples: 3}, cascade: {min_agents: 2}}
task_types: {default: {session_tokens: 900, max_duration: 60s, idle_timeout: 90s}}
"""


def fleet(seed: int) -> list[bytes]:
    """A small fleet that does all that it should not."""
    rng = random.Random(seed)
    lines: list[bytes] = []
    second = 0.0
    sessions: dict[str, list[str]] = {agent: [f"{agent}0"] for agent in "abcd"}
    for number in range(rng.randrange(20, 160)):
        second += rng.choice([0.1, 1.0, 3.0, 10.0, 10.0, 40.0, 200.0])
        agent = rng.choice("abcd")
        if rng.random() < 0.1:
            sessions[agent].append(f"{agent}{number}")
        session = rng.choice(sessions[agent][-2:])
        fields = {"agent_id": agent, "session_id": session, "duration_ms": rng.choice([None, 50, 900])}
        trace = rng.choice([None, "t1", "t2", "t3", f"task-{session}"])
        if trace is not None:
            fields["parent_trace_id"] = trace
        if rng.random() < 0.6:
            fields["tokens"] = {"prompt": rng.choice([10, 10, 10, 12, 100, 400])}
        metadata = {}
        if rng.random() < 0.4:
            metadata["parent_agent_id"] = rng.choice("abcd")
        if rng.random() < 0.05:
            metadata["retry_count"] = 4
        if metadata:
            fields["metadata"] = metadata
        fields["status"] = rng.choice(["success", "success", "success", "error", "timeout"])
        action, wanted, came = rng.choice("xy"), rng.choice([1, 1, 1, 2]), rng.choice([1, 1, 1, 2])
        lines.append(call(second, action, wanted, came, **fields))
        if rng.random() < 0.1:
            state = {"state": rng.choice(["working", "idle"])}
            lines.append(line(second + 30, agent_id=agent, session_id="p", action="heartbeat", output=state))
    return sorted(lines, key=lambda text: json.loads(text)["timestamp"])


@example(seed=3_927, block=4_000)  # a line that begins with its block
@given(seed=st.integers(0, 10**9), block=st.sampled_from([700, 4_000, 1 << 20]))
def test_what_is_found_is_what_backtest_finds(seed, block, tmp_path_factory):
    """Of every task, with few of the log's lines at hand and with many."""
    lines = fleet(seed)
    path = written(tmp_path_factory.getbasetemp() / "fleet.log", *lines)
    exporter = Exporter(CONFIG)
    wanted = []
    exporter.stages.listeners.append(wanted.append)
    exporter.read(*lines).findings()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "BLOCK", block)
        patch.setattr(log, "SCAN", max(512, block // 3))
        for name in ("t1", "t2", "t3"):
            if any(f'"{name}"'.encode() in text for text in lines):
                [task] = found(path, CONFIG, trace=name).tasks
                own = {finding.to_json() for finding in wanted if finding.trace_id == task.trace_id}
                assert own <= {finding.to_json() for finding in task.findings} <= {one.to_json() for one in wanted}


@given(seed=st.integers(0, 10**9))
def test_the_tree_is_that_of_the_spans(seed, tmp_path_factory):
    """Each session hangs below the session whose span is above its own."""
    lines = [text for text in fleet(seed) if b'"t1"' in text]  # heartbeats name no trace
    if not lines:
        return
    path = written(tmp_path_factory.getbasetemp() / "tree.log", *lines)
    spans = Collector().feed(lines).finish().spans()
    above = {}
    for _, span in spans.values():
        if span.name.startswith("invoke_agent") and span.kind != span.SPAN_KIND_CLIENT:
            parent = span.parent_span_id
            while parent in spans and spans[parent][1].kind == span.SPAN_KIND_CLIENT:
                parent = spans[parent][1].parent_span_id
            name = attributes(span)
            owner = attributes(spans[parent][1]) if parent in spans else {}
            above[name["gen_ai.agent.name"], name["gen_ai.conversation.id"]] = (
                owner.get("gen_ai.agent.name"), owner.get("gen_ai.conversation.id"),
            )  # fmt: skip
    drawn = {}
    way: list[tuple[str, str]] = []
    for row in found(path, trace="t1").tasks[0].rows:
        if row.done is None:
            del way[row.depth :]
            drawn[row.agent_id, row.session_id] = way[-1] if way else (None, None)
            way.append((row.agent_id, row.session_id))
    assert drawn == above


# --- a log is hostile ------------------------------------------------------------------------------------------------

EVIL = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    st.sampled_from(
        [
            "\x1b]0;owned\x07",
            "\u202egnp.exe",
            "a\nTask fake",
            "\r▲ ok",
            "é" * 64,
            "e" + "\u0301" * 50,
            "\U000e0041",
            "\x9b2J",
        ]
    ),
)


@given(
    lines=st.lists(
        st.tuples(EVIL, EVIL, EVIL, EVIL, st.sampled_from(["success", "error", "timeout"])), min_size=1, max_size=6
    ),
    name=EVIL,
)
def test_nothing_that_is_printed_steers_a_terminal(lines, name, tmp_path_factory):
    """No control of any kind, no line wider than it may be; and the JSON is JSON of ASCII."""
    path = written(
        tmp_path_factory.getbasetemp() / "evil.log",
        *(
            line(
                n, agent_id=agent, session_id=session, action=action, status=status, parent_trace_id=name,
                error={"type": error, "message": error}, input={error: agent}, output=session,
                tokens={"prompt": 1, "model": error}, metadata={"retry_count": 9, "parent_agent_id": lines[0][0]},
            )
            for n, (agent, session, action, error, status) in enumerate(lines)
        ),
    )  # fmt: skip
    accepted = [one for one in lines if one[2] != "heartbeat" and all(len(part.encode()) <= 256 for part in one[:3])]
    for more in ([], ["--content"]):
        code, out, err = run(f"--trace={name}", path, *more)
        assert code == (0 if accepted else 1), err
        for row in out.split("\n"):
            assert row.isprintable()
            assert width(row) <= 100
    document = run(f"--trace={name}", path, "--json", "--content")[1]
    assert document.isascii()
    assert all(row.isprintable() for row in document.split("\n"))
    if accepted:
        assert json.loads(document)["tasks"][0]["names"] == [name]


@given(text=st.text(), columns=st.integers(2, 30))
def test_texts_are_cut_to_columns(text, columns):
    """By the width that a terminal gives them."""
    harmless = safe(text)
    assert harmless.isprintable()
    assert safe(harmless) == harmless
    assert width(pad(harmless, columns)) == columns
    assert width(cut(harmless, columns)) <= columns
    assert width(cut_end(harmless, columns)) <= columns
    wrapped = wrap(harmless, columns)
    assert all(width(row) <= columns for row in wrapped)
    assert "".join(wrapped).replace(" ", "") == harmless.replace(" ", "")


def test_lines_that_are_no_records_are_passed_over(tmp_path):
    """Also a line far too long. One that claims to be of a later year is of now."""
    record = line(0, parent_trace_id="t")
    junk = [b"t", b'{"parent_trace_id": "t"}', b'{"x": "' + b"t" * (1 << 21) + b'"}', b"\x00" * 100, b"[" * 500]
    ahead = record.replace(b"2026", b"2036")
    path = written(tmp_path / "log", *junk, record, *junk, ahead, b"")
    [task] = found(path, trace="t").tasks
    assert (task.sums.actions, task.started) == (2, 1773824400.0)
    assert found(path, agent="a", since=1.0).now == task.ended < 2_000_000_000


def test_a_chain_of_a_thousand_agents_stays_on_the_page(tmp_path):
    """Its sums are of all of it."""
    lines = [
        line(
            n / 10,
            agent_id=f"a{n}",
            session_id=f"s{n}",
            parent_trace_id="t",
            status="error",
            metadata={"parent_agent_id": f"a{n - 1}"},
        )
        for n in range(1000)
    ]
    text = shown("--trace", "t", written(tmp_path / "log", *lines))
    assert "1,000 agents, 1,000 sessions, 1,000 actions, 1,000 failed" in " ".join(text.split())
    assert all(width(row) <= 100 for row in text.splitlines())
    assert len(text.splitlines()) < 400


def test_time_is_that_of_the_log(tmp_path):
    """An hour before the newest line, whichever day it is today."""
    path = written(tmp_path / "log", line(0, parent_trace_id="old"), line(3601, parent_trace_id="new"))
    answer = found(path, agent="a", since=3600.0)
    assert [task.names for task in answer.tasks] == [["new"]]
    assert json.loads(shown("--agent", "a", "--json", path))["now"] == at(3601)

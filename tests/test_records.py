"""What counts as a record: behind a prefix, in colours, and never by text that somebody else wrote into a line."""

from __future__ import annotations

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter.action import Action, Rejection, decode
from agent_exporter.cli import command
from agent_exporter.config import parse
from agent_exporter.detectors.finding import Finding
from agent_exporter.formats.prefixed import MAX_PREFIX
from agent_exporter.lines import Batch
from agent_exporter.metrics.cells import CELL_TYPES
from agent_exporter.records import EXCERPT, Foreign, read
from agent_exporter.sources import Source
from agent_exporter.stages import Stages
from agent_exporter.state import MemoryStore

RECORD = (
    b'{"timestamp": "2026-03-18T09:15:32Z", "agent_id": "billing", "session_id": "s-1", "action": "refund", '
    b'"status": "success", "input": {"order": "7"}}'
)
PREFIXES = [
    b"worker-12  | ",
    b"[pod/billing-5d4/app] ",
    b"billing-5d4 app ",
    b"2026-03-18T09:15:32.441234567Z ",
    b"2026-03-18 09:15:32,441 - agents.billing - INFO - ",
    b"INFO:agents.billing:",
    b"I0318 09:15:32.441     71 main.go:12] ",
    b"Mar 18 09:15:32 host-1 billing[71]: ",
    b"<14>1 2026-03-18T09:15:32Z host-1 billing 71 - - ",
    b'<14>1 2026-03-18T09:15:32Z host-1 billing 71 ID7 [meta@32473 seq="1" lang="en"] \xef\xbb\xbf',
    b"\x1b[36mbilling-1  |\x1b[0m ",
    b"\x1b[1;38;5;208m",
    "café ▶ ".encode(),
    b"caf\xe9: ",
    b"\xef\xbb\xbf",
    b"\x1b[32m\t",
    b"\x1b[?25l\x1b[32mweb\x1b(B\x1b[m | ",
]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("after", [b"", b" ", b"\x1b[0m", b"\x1b[0m\x1b[K \x1b[39;49m", b"\x1b(B\x1b[m", b"\x1b[m\x0f"])
def test_a_record_is_found_behind_what_usual_tools_write_before_it(prefix, after):
    """It is the same as the bare record, its line too."""
    assert read(prefix + RECORD + after) == decode(RECORD)


def test_a_coloured_record_is_found():
    """As `jq -C` and rich print it."""
    coloured = re.sub(rb'("[^"]*")', lambda text: b"\x1b[34;1m" + text[0] + b"\x1b[0m", RECORD)
    assert read(coloured) == decode(RECORD)


def test_what_is_wrong_with_a_record_behind_a_prefix_is_said_of_the_record():
    """Not of the prefix."""
    assert read(b"web-1 | " + RECORD.replace(b'"s-1"', b"7")) == Rejection(
        "wrong_type", "session_id must be a string, not a whole number"
    )
    assert read(b'web-1 | {"level": "info"}') == Rejection("missing_field", "timestamp is required")


@pytest.mark.parametrize(
    "line",
    [
        RECORD + b" done",
        RECORD + RECORD,
        b"web-1 | " + RECORD + b" (1 of 2)",
        b'msg="' + RECORD + b'"',
        b"msg='" + RECORD + b"'",
        b'"' + RECORD,
        b'level="info" ' + RECORD,
        b"{app} " + RECORD,
        b'{"input": ' + RECORD,
        b"x" * (MAX_PREFIX + 1) + RECORD,
        RECORD[:-1],
        b"web-1 | " + RECORD[:-1],
        RECORD.replace(b"refund", b"re\0fund"),
    ],
)
def test_what_is_no_record_to_the_end_of_the_line_is_rejected_with_an_excerpt(line):
    """Garbage behind it, quotes around or before it, another object before it, a record cut off, a NUL within."""
    rejection = read(line)
    assert isinstance(rejection, Rejection)
    assert rejection.reason == "not_json"
    assert "; the line: " in rejection.detail
    assert rejection.detail.isprintable()
    assert len(rejection.detail) < 400


def test_the_excerpt_is_that_of_the_fault():
    """So that a NUL is seen, wherever it stands."""
    line = RECORD.replace(b'"7"', b'"' + b"7" * 500 + b'\0"')
    assert read(line) == Rejection(
        "not_json", f"not JSON: invalid character (byte 643); the line: ...'{'7' * 44}\\x00\"}}}}'"
    )


@given(st.binary(max_size=200))
def test_an_excerpt_is_bounded_and_printable(line):
    """Whatever the line holds."""
    result = read(line)
    assert isinstance(result, Rejection)
    assert result.detail.isascii()
    assert result.detail.isprintable()
    assert len(result.detail) < 100 + 4 * EXCERPT


texts = st.one_of(st.text(max_size=30), st.sampled_from([" ", '"', "\\", "\\\\", "x]", '[a b="c"] ', "\x1b[0m", "{"]))


@given(texts, texts, st.data())
def test_no_record_is_made_of_text_within_another_records_strings(before, after, data):
    """Wherever a line of it is cut off, at either end."""
    forged = RECORD.decode().replace("billing", "victim")
    outer = json.loads(RECORD) | {"input": {"prompt": before + forged + after}, "output": after + forged}
    line = json.dumps(outer, ensure_ascii=data.draw(st.booleans())).encode()
    begin = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(begin, len(line)))
    result = read(line[begin:end])
    assert not isinstance(result, Action) or result.agent_id == "billing"


@given(texts, st.data())
def test_no_record_is_made_of_an_object_within_a_record_that_is_cut_off(text, data):
    """A model may choose the arguments of a tool."""
    forged = json.loads(RECORD) | {"agent_id": "victim"}
    line = json.dumps({"note": text, "input": forged} | json.loads(RECORD)).encode()
    assert not isinstance(read(b"web-1 | " + line[: data.draw(st.integers(0, len(line) - 1))]), Action)


@pytest.mark.parametrize(
    "text",
    [b"{" * 64 + b"x", b"\x1b[" * 64, b"\x1b[0", b" ", b'[a b="c', b"[a " * 16, b'x="', b"\x1b[0m", b"[" * 64],
)
def test_hostile_lines_take_linear_time(text):
    """A line of a mebibyte made of any of these, with a record's begin or end."""
    started = time.process_time()
    for line in (text * ((1 << 20) // len(text)), b"x {" + text * ((1 << 20) // len(text)), b"[a" + b'"' + RECORD):
        assert isinstance(read(line), Rejection)
    assert time.process_time() - started < 2.0


def test_explain_validate_and_replay_agree_on_what_is_a_record(tmp_path, capsys):
    """Of the same log, with prefixes, colours, NULs and a line that is none."""
    log = tmp_path / "mixed.log"
    lines = [prefix + RECORD.replace(b'"7"', b'"1%d"' % number) for number, prefix in enumerate(PREFIXES)]
    log.write_bytes(b"\n".join([RECORD, bytes(3000) + RECORD.replace(b'"7"', b'"x"'), *lines, b"bye", b""]))
    count = len(lines) + 2
    assert command(["validate", str(log)]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == (f"{count + 1} lines: {count} accepted, 1 rejected (1 not_json)")
    assert command(["replay", str(log)]) == 0
    assert f'agent_exporter_lines_accepted_total{{source="{log}"}} {count}.0' in capsys.readouterr().out
    assert command(["explain", "--session", "s-1", str(log), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert json.dumps(told).count('"refund"') >= count


def seconds_log(path, count=20):
    """Equal lines, as a tight loop writes them with times of whole seconds."""
    path.write_bytes(count * (RECORD[:-1] + b', "output": {"refunded": false}}\n'))
    return path


def test_equal_lines_of_a_file_all_count(tmp_path, capsys):
    """In every command: a tight loop that logs whole seconds is no delivery of one line."""
    log = seconds_log(tmp_path / "loop.log")
    assert command(["validate", str(log)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "20 lines: 20 accepted, 0 rejected; 1 warning (1 whole_seconds)"
    assert command(["replay", str(log)]) == 0
    page = capsys.readouterr().out
    assert f'agent_exporter_lines_accepted_total{{source="{log}"}} 20.0' in page
    assert f'agent_exporter_lines_duplicate_total{{source="{log}"}} 0.0' in page
    assert command(["explain", "--session", "s-1", str(log), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["tasks"][0]["actions"] == 20
    assert command(["backtest", str(log)]) == 0
    assert '"loop":"repeat"' in capsys.readouterr().out


def test_a_file_that_two_sources_name_is_read_by_the_first_and_said(tmp_path, capsys, caplog):
    """Rather than read twice and sorted out line by line."""
    log = seconds_log(tmp_path / "a.log", 3)
    (tmp_path / "b.log").symlink_to(log)
    assert command(["replay", str(log), str(tmp_path / "*.log")]) == 0
    page = capsys.readouterr().out
    assert f'agent_exporter_lines_read_total{{source="{log}"}} 3.0' in page
    assert f'agent_exporter_lines_read_total{{source="{tmp_path}/*.log"}} 0.0' in page
    assert f"{tmp_path}/*.log: {str(log)!r} is left out: {str(log)!r} reads it already" in caplog.text


FOREIGN = [
    b'{"msg": "' + b"\xff" + b'"}',
    b'{"level": "info", "msg": "started", "timestamp": "2026-03-18T09:15:32Z", "status": "success"}',
    b'{"timestamp": 1773825332, "message": "GET /", "status": 200}',
    b"{}",
    b'web-1 | {"level": "info", "deep": {"agent_id": "a", "session_id": "s", "action": "x"}}',
    b'{"deep": ' + b"[" * 70 + b"]" * 70 + b"}",
]
FAULTY = [
    b'{"timestamp": "2026-03-18T09:15:32Z", "agentId": "a", "status": "success"}',
    b'{"Session-ID": "s"}',
    b'{"action": "x"}',
    b"[]",
    b"7",
    b'{"level": "info"',
    b"plain text",
    b'{"deep": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
]


@pytest.mark.parametrize("kind", ["loop", "cascade"])
def test_a_finding_of_an_exporter_is_ignored_and_a_record_that_begins_like_one_counts(kind):
    """The standard output of an exporter may be among the logs; nobody hides lines by passing them for findings."""
    finding = Finding(kind=kind, agent_id="a", session_id="s", at=0.0, evidence={"times": 4}, root_agent="a")
    assert isinstance(read(finding.to_json()), Foreign)
    fields = json.loads(finding.to_json())
    record = {"timestamp": "2026-03-18T09:15:32Z", "action": "x", "status": "success"}
    assert isinstance(read(json.dumps(fields | record).encode()), Action)
    assert not isinstance(read(json.dumps(fields | {"status": "success"}).encode()), Foreign)


@pytest.mark.parametrize(
    "names",
    [
        {"agent_id": "agent_ld", "session_id": "sesion_id", "action": "acton"},
        {"agent_id": "agent", "session_id": "session", "action": "tool"},
        {"agent_id": "agent_name", "session_id": "thread_id", "action": "step"},
    ],
)
def test_a_record_with_other_names_is_rejected_with_what_is_meant(names):
    """Two of the three are enough: one alone may be another program's."""
    fields = {names.get(name, name): value for name, value in json.loads(RECORD).items()}
    assert type(read(json.dumps(fields).encode())) is Rejection
    one = fields | {names["session_id"]: {"id": 7}, names["action"]: None}
    assert isinstance(read(json.dumps(one).encode()), Foreign)


def test_json_of_another_program_is_told_from_a_record_with_faults():
    """By the fields that every record has and no ordinary logger; one that is named alike shows a record."""
    assert [type(read(line)) for line in FOREIGN] == [Foreign] * len(FOREIGN)
    assert [type(read(line)) for line in FAULTY] == [Rejection] * len(FAULTY)


CONFIG = """
sources:
  both: {path: /logs/a, ignore_plain_text: true}
  strict: {path: /logs/b, foreign_json: count}
otlp_logs: {foreign_json: count}
"""


@given(st.lists(st.sampled_from([RECORD, b"x " + RECORD, b"\0", *FOREIGN[:4], *FAULTY[:8]]), max_size=20))
def test_every_line_read_is_accepted_rejected_duplicate_or_ignored(lines):
    """To the unit, whatever the config of its source."""
    for name, counted in (("both", False), ("strict", True), ("otlp", True), ("-", False)):
        stages = Stages(parse(CONFIG), MemoryStore(CELL_TYPES), [], live=False)
        source = Source()
        source.name = name
        envelopes = [b""] * len(lines) if name == "otlp" else ()
        batch = Batch(lines, too_long=1, envelopes=envelopes)
        for _ in range(2):
            stages.pipeline.feed(source, batch)
        cell = stages.tally.source(name, 0.0)
        foreign, good = sum(line in FOREIGN for line in lines), sum(RECORD in line for line in lines)
        plain = lines.count(b"plain text") + lines.count(b"\0") if name == "both" else 0
        assert cell.read == 2 * len(lines) + 2
        assert cell.accepted + cell.duplicate == 2 * good
        assert cell.duplicate == (good if name == "otlp" else 0)
        assert cell.ignored == 2 * ((0 if counted else foreign) + plain)
        assert cell.read == cell.accepted + cell.duplicate + cell.ignored + sum(cell.rejected.values())


def test_validate_ignores_what_run_ignores(tmp_path, capsys):
    """And names the first such line."""
    log = tmp_path / "a.log"
    log.write_bytes(b"\n".join([RECORD, *FOREIGN, b""]))
    assert command(["validate", str(log)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{log}:2: ignored, as are all JSON objects without agent_id, session_id and action",
        "7 lines: 1 accepted, 6 ignored, 0 rejected",
    ]

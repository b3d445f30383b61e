"""Lines that are posted to /v1/ndjson: in our schema or in a format, bounded and durable as those of /v1/logs."""

import gzip
import json
import signal

import pytest
from conftest import line
from foreign import Claude, text, tool, words
from hypothesis import given
from hypothesis import strategies as st
from running import Running
from test_programs import payload

from agent_exporter.action import Action
from agent_exporter.config import parse
from agent_exporter.config.strict import ConfigError
from agent_exporter.formats.mapping.memory import Memory
from agent_exporter.lines import MAX_LINE, Batch
from agent_exporter.metrics.cells import CELL_TYPES
from agent_exporter.records import read
from agent_exporter.sources.ndjson import NdjsonSource, read_lines
from agent_exporter.sources.requests import QueueFull
from agent_exporter.stages import Stages
from agent_exporter.state import MemoryStore

OURS = [line(action="search"), line(action="llm_call", tokens={"prompt": 5, "completion": 1})]
NDJSON = {"Content_Type": "application/x-ndjson"}


@pytest.fixture
def source():
    return NdjsonSource(lambda: None, Memory())


def taken(source, body: bytes, format_: str = "") -> Batch:
    """What one request becomes."""
    answer = source.deliver(read_lines(body, format_))
    batch = source.read()
    source.note(0, "")
    source.committed()
    assert answer.result(0) == (0, "")
    return batch


# --- a request ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"\n".join(OURS) + b"\n",
        b"\r\n\r\n" + b"\r\n".join(OURS),
        b"[" + b",".join(OURS) + b"]",
        b" \n[\n" + b"\n,\n".join(OURS) + b"\n]\n",
        b"\0\0" + b"\n".join(OURS),
        json.dumps([json.loads(each) for each in OURS], indent=2).encode(),
    ],
    ids=["lines", "CR LF", "array", "array of lines", "NULs", "indented"],
)
def test_lines_and_an_array_are_the_same_records(source, body):
    """Shippers send either."""
    batch = taken(source, body)
    assert [json.loads(each) for each in batch.lines] == [json.loads(each) for each in OURS]
    assert len(batch.envelopes) == 2


def test_a_request_of_nothing_is_answered(source):
    for body in (b"", b"\n \n", b"[]"):
        assert taken(source, body) == Batch([], 0, 0, [], {}, 0)


@pytest.mark.parametrize("body", [b"[", b"[{},", b"[{}] {}"])
def test_a_broken_array_is_a_value_error(body):
    with pytest.raises(ValueError, match="the body is an array that is not JSON"):
        read_lines(body, "")


def test_the_number_of_lines_is_bounded(monkeypatch):
    monkeypatch.setattr("agent_exporter.sources.otlp_records.MAX_RECORDS", 2)
    for body in (b"{}\n{}\n{}\n", b"[{},{},{}]"):
        with pytest.raises(ValueError, match="the request has over"):
            read_lines(body, "")


def test_an_array_of_nothing_but_numbers_is_given_up_on():
    """Before it is decoded: each would take some ninety bytes of memory."""
    with pytest.raises(ValueError, match="too many values for its length"):
        read_lines(b"[" + b"1," * (10 << 20) + b"1]", "")


def test_a_line_that_is_too_long_is_counted_and_the_others_count(source):
    batch = taken(source, b"\n".join([b"x" * (MAX_LINE + 1), *OURS]))
    assert (batch.lines, batch.too_long) == (OURS, 1)


@given(st.binary(max_size=200))
def test_any_bytes_give_lines_or_a_value_error(body):
    source = NdjsonSource(lambda: None, Memory())
    for format_ in ("", "litellm", "claude-code"):
        try:
            records = read_lines(body, format_)
        except ValueError:
            continue
        source.deliver(records)
        batch = source.read()
        source.note(0, "")
        assert len(batch.envelopes) == len(batch.lines)


# --- formats -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["", "litellm"], ids=["found", "named"])
def test_a_request_of_another_program_is_read_in_its_format(source, format_):
    """LiteLLM sends an array, unless it is set to NDJSON. What no rule is for is counted by its type."""
    rows = [payload(), payload(2), {"hello": 1}]
    for body in (text(rows), json.dumps(rows).encode()):
        batch = taken(source, body, format_)
        found = [read(each) for each in batch.lines]
        assert [action.tokens.prompt for action in found] == ([900, 900] if body == text(rows) else [])
    assert (dict(batch.skipped), batch.silent) == ({"litellm/record": 1}, 2)  # both were counted before


def test_a_long_line_of_a_format_may_be_as_long_as_in_a_file(source):
    """A payload has the messages in it."""
    row = text([payload(messages=[{"role": "user", "content": "x" * (2 * MAX_LINE)}])])
    assert [read(each).tokens.prompt for each in taken(source, row, "litellm").lines] == [900]


def test_what_a_file_has_counted_does_not_count_again(tmp_path):
    """All sources share what is counted once."""
    main = Claude()
    [call] = main.answer(tool())
    main.result(call)
    main.answer(words("Done."))
    memory = Memory()
    first, second = NdjsonSource(lambda: None, memory), NdjsonSource(lambda: None, memory)
    assert len(taken(first, text(main.rows)).lines) == 3
    assert taken(second, text(main.rows)).lines == []


def test_a_format_of_ones_own_is_named_by_the_config(tmp_path):
    """A request cannot name a file."""
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "extends: pino\ndefaults: {agent_id: {const: till}, session_id: run}\n"
        "records: [{when: {step: present}, emit: {action: step}}]"
    )
    config = parse(f"ndjson: {{formats: {{till: {mine}}}}}")
    assert config.formats() == {"ndjson.formats.till": str(mine)}
    source = NdjsonSource(lambda: None, Memory(), config.ndjson.formats)
    assert source.formats() == ["autogen", "claude-code", "codex", "genai", "litellm", "pi", "till"]
    [row] = taken(source, b'{"time":1773824402500,"run":"r1","step":"pay","level":50}', "till").lines
    action = read(row)
    assert isinstance(action, Action)
    assert (action.agent_id, action.session_id, action.action, action.status) == ("till", "r1", "pay", "error")


def test_the_name_of_a_source_is_taken():
    with pytest.raises(ConfigError, match=r"sources\.ndjson: the name is taken, by /v1/ndjson"):
        parse("sources: {ndjson: {path: /x}}")


# --- what is delivered again -------------------------------------------------------------------------------------


def test_a_request_that_is_sent_again_counts_once_and_two_equal_lines_are_two(source):
    """A sender that has missed the answer sends the same bytes."""
    stages = Stages(parse(""), MemoryStore(CELL_TYPES), [source], live=True)
    body = b"\n".join([OURS[0], OURS[0]])
    for sent in (body, body, b"[" + OURS[0] + b"]"):
        stages.pipeline.feed(source, taken(source, sent))
    cell = stages.tally.sources["ndjson"]
    assert (cell.read, cell.accepted, cell.duplicate) == (5, 3, 2)


def test_what_is_not_committed_is_not_answered(source):
    """The sender is to try again."""
    answer = source.deliver(read_lines(OURS[0], ""))
    source.read()
    source.note(0, "")
    source.refused()
    with pytest.raises(QueueFull, match="state cannot be written"):
        answer.result(0)
    source.close("shutting down")
    with pytest.raises(QueueFull, match="shutting down"):
        source.deliver([])


# --- over HTTP ---------------------------------------------------------------------------------------------------


def test_lines_are_posted_and_survive_a_kill(tmp_path):
    """What was answered with 200 is counted for good, in the format that the address names."""
    state = ("--state.path", str(tmp_path / "s.db"))
    rows = text([payload(), payload(2)])
    with Running(*state) as exporter:
        assert exporter.post("/v1/ndjson?format=litellm", rows, **NDJSON) == (200, b'{"rejected":0}')
        packed = {"Content_Type": "application/json", "Content_Encoding": "gzip"}
        assert exporter.post("/v1/ndjson", gzip.compress(b"\n".join([*OURS, b"text"])), **packed) == (
            200,
            b'{"rejected":1,"why":"not JSON: invalid character (byte 4); the line: \'text\'"}',
        )
        exporter.process.send_signal(signal.SIGKILL)
        exporter.process.wait()
    with Running(*state) as exporter:
        assert exporter.post("/v1/ndjson?format=litellm", rows, **NDJSON)[0] == 200  # again: it counts once
        page = exporter.scrape()
    assert 'agent_tokens_total{agent_id="till",model="gpt-5-mini",token_type="prompt"} 1800.0' in page
    assert 'agent_exporter_lines_accepted_total{source="ndjson"} 4.0' in page


def test_requests_that_are_refused_say_why(tmp_path):
    """A page of another site cannot send the content types that are accepted without asking."""
    with Running("--state.path=none") as exporter:
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            assert exporter.post("/v1/ndjson", OURS[0], Content_Type=kind) == (
                415, b"Content-Type must be application/x-ndjson or application/json\n",
            )  # fmt: skip
        status, why = exporter.post("/v1/ndjson?format=/etc/passwd", OURS[0], **NDJSON)
        assert (status, why.decode()) == (
            400,
            "format must be one of autogen, claude-code, codex, genai, litellm, pi; ndjson.formats adds more\n",
        )
        assert exporter.post("/v1/ndjson", b"[", **NDJSON)[0] == 400
        assert exporter.get("/v1/ndjson") == (405, "use POST\n")
    config = tmp_path / "config.yaml"
    config.write_text("ndjson: {enabled: false}\n")
    with Running("--config", config, "--state.path=none") as exporter:
        assert exporter.post("/v1/ndjson", OURS[0], **NDJSON) == (404, b"ndjson.enabled is false in the config\n")

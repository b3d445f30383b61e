"""What `validate` says of lines: every fault, every warning, with the line there."""

from __future__ import annotations

import json
import os

import pytest
from conftest import line
from hypothesis import given
from hypothesis import strategies as st
from test_action import BAD, records

from agent_exporter import names
from agent_exporter.action import REASONS, Action, decode
from agent_exporter.cli import command
from agent_exporter.lint import WARNINGS, Lint
from agent_exporter.records import Foreign


def said(text: bytes) -> list[str]:
    """Kind and sentence of each remark."""
    return [f"{remark.kind}: {remark.detail}" for remark in Lint().line(text)[1]]


def test_all_faults_and_warnings_of_a_line_are_said_at_once():
    """The first fault is the one that it is counted by."""
    text = line(
        agent_id=None, agentId="a", session_id=7, action="", status="weird", trace_id="x", output={"state": 4},
        tokens={"prompt": -1, "completion": "5", "model": "own"}, durationMs=3,
    )  # fmt: skip
    assert sorted(said(text)) == [
        "field_ignored: output.state must be a string, not a whole number: it is left out",
        "field_ignored: trace_id must be 32 hex digits, not all zero: it is left out",
        "field_misnamed: durationMs is not a field: did you mean duration_ms?",
        "missing_field: agent_id is required; the line has agentId: did you mean agent_id?",
        "out_of_range: action must be 1 to 256 bytes of UTF-8",
        "out_of_range: tokens.prompt must be a whole number >= 0",
        "status_other: status weird counts as other: `statuses` of the config has the words",
        "wrong_type: session_id must be a string, not a whole number",
        "wrong_type: tokens.completion must be a whole number, not a string",
    ]
    assert Lint().line(text)[1][0].detail == decode(text).detail


SURROGATE = rb"half of a surrogate pair (\ud800 to \udfff)".decode()
NOT_FINITE = "a number that is not finite (NaN, Infinity, 1e999)"


@pytest.mark.parametrize("prefix", [b"", b"web-1  | "])
def test_every_text_and_number_that_is_not_json_is_named(prefix):
    """Behind a prefix too; what else is wrong is said with it."""
    text = line(agent_id="A", session_id=7, status=float("nan"), metadata={"retry_count": float("inf")})
    assert said(prefix + text.replace(b'"A"', rb'"\ud800"')) == [
        f"bad_encoding: agent_id holds {SURROGATE}",
        f"not_json: status holds {NOT_FINITE}",
        "wrong_type: session_id must be a string, not a whole number",
        f"field_ignored: metadata.retry_count holds {NOT_FINITE}: it is left out",
        "content_not_json: NaN, Infinity, or half a surrogate pair: null or \\ufffd stands for it",
    ]
    assert said(prefix + line(duration_ms=5).replace(b"5}", b"1e999}")) == [
        f"out_of_range: duration_ms holds {NOT_FINITE}"
    ]
    assert said(prefix + line(agent_id="A").replace(b'"A"', b'"\xff"')) == [
        "bad_encoding: agent_id holds bytes that are not UTF-8"
    ]


def test_a_line_behind_a_prefix_has_no_warning_of_its_own():
    """It is JSON, whatever stands before it."""
    text = line(metadata={"feedback": 7}, trace_id=float("nan"))
    assert said(b"web-1 | " + line(metadata={"feedback": 7})) == [
        "field_ignored: metadata.feedback must be a number <= 1: it is left out"
    ]
    assert said(b"web-1 | " + text)[:2] == said(text)[:2]


def test_content_that_is_nested_too_deep_hides_no_other_fault():
    """Content is left out with a warning; a field that has to be there is a fault. The rest is said as well."""
    deep = b"[" * 70 + b"]" * 70
    wrong = "wrong_type: session_id must be a string, not a whole number"
    left_out = "content_not_json: content is nested more than 64 deep: a hash stands for it"
    assert said(line(input="DEEP", session_id=7).replace(b'"DEEP"', deep)) == [wrong, left_out]
    assert said(line(input="DEEP").replace(b'"DEEP"', deep)) == [left_out]
    assert said(line(tokens="DEEP", session_id=7).replace(b'"DEEP"', deep)) == [
        "too_deep: objects and arrays may be nested 64 deep at most",
        wrong,
    ]


@pytest.mark.parametrize("beside", [{}, {"input": {"q": 1}, "output": {"a": 1}}])
def test_tokens_as_input_and_output_are_named(beside):
    """Whether the line has an input and an output of its own or not."""
    found = Lint().line(line(tokens={"input": 30_000, "output": 500}, **beside))[1]
    assert [(remark.kind, remark.field, remark.detail.rpartition(" ")[2]) for remark in found] == [
        ("field_misnamed", "tokens.input", "tokens.prompt?"),
        ("field_misnamed", "tokens.output", "tokens.completion?"),
    ]
    assert '"input": 30000' in found[0].excerpt


@pytest.mark.parametrize(
    "wrap", [lambda text: {"log": text, "stream": "stdout"}, lambda text: {"message": json.loads(text)}]
)
def test_a_record_in_another_programs_json_is_said(wrap):
    """The line is ignored, as the text of a message may be anybody's."""
    result, [remark] = Lint().line(json.dumps(wrap(line().decode())).encode())
    assert isinstance(result, Foreign)
    assert (remark.kind, remark.field in {"log", "message"}) == ("record_inside", True)


def test_the_excerpt_of_a_line_that_ends_too_soon_is_its_end():
    """There is the fault."""
    [remark] = Lint().line(line(output={"a": "x" * 200})[:-40])[1]
    assert remark.excerpt.endswith("xxx")


def test_an_excerpt_begins_at_the_field_and_not_in_content_that_has_its_name():
    """What an agent was given may be private."""
    text = line(
        input={"status": "private", "tokens": {"model": "p"}}, tokens={"prompt": 1, "model": "own"}, status="odd"
    )
    assert {remark.field: remark.excerpt for remark in Lint().line(text)[1]} == {
        "status": '…"status": "odd", ...',
        "tokens.model": '…"model": "own"}}',
    }
    assert {remark.excerpt for remark in Lint(excerpts=False).line(text)[1]} == {""}


@pytest.mark.parametrize(
    ("fields", "written", "meant"),
    [
        ({"durationMs": 1}, "durationMs", "duration_ms"),
        ({"duration": 1}, "duration", "duration_ms"),
        ({"retry_count": 1}, "retry_count", "metadata.retry_count"),
        ({"task_type": "t"}, "task_type", "metadata.task_type"),
        ({"model": "m"}, "model", "tokens.model"),
        ({"parentTraceId": "t"}, "parentTraceId", "parent_trace_id"),
        ({"parent_trace_idd": "t"}, "parent_trace_idd", "parent_trace_id"),
        ({"usage": {"input_tokens": 1}}, "usage", "tokens"),
        ({"tokens": {"prompt_tokens": 1}}, "tokens.prompt_tokens", "tokens.prompt"),
        ({"tokens": {"cache_read_input_tokens": 1}}, "tokens.cache_read_input_tokens", "tokens.cache_read"),
        ({"metadata": {"retryCount": 1}}, "metadata.retryCount", "metadata.retry_count"),
        ({"metadata": {"session_ended": True}}, "metadata.session_ended", "metadata.session_end"),
    ],
)
def test_a_name_that_is_nearly_a_fields_is_asked_about(fields, written, meant):
    """At the top, in tokens and in metadata; common names of other loggers, too."""
    assert said(line(**fields)) == [f"field_misnamed: {written} is not a field: did you mean {meant}?"]


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "m", "tokens": {"model": "gpt-4o"}},
        {"message": "m", "logger": "l", "host": "h", "user": "u", "x": 1, "temperature": 0.5},
        {"tokens": {"total": 5, "reasoning": 3}, "metadata": {"user": "u", "state": "s", "env": "prod"}},
        {"output": {"agentId": "x", "durationMs": 3}, "input": {"retryCount": 3}},
    ],
)
def test_what_agents_add_of_their_own_is_no_misnamed_field(fields):
    """Nor is what stands in their content, or beside the field itself."""
    assert said(line(**fields)) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (line(tokens={"prompt": 1, "model": "own\x1b[31m"}), "model_unpriced: the model own\\x1b[31m has no price, and the line no cost_usd: it counts as $0"),
        (line(tokens={"prompt": 1, "cache_read": 2}), "prompt_without_cache: prompt leaves out the cached tokens, which are added to it: log the sum as tokens.prompt"),
        (line(output=[float("nan")]), "content_not_json: NaN, Infinity, or half a surrogate pair: null or \\ufffd stands for it"),
        (line(metadata={"feedback": 7}), "field_ignored: metadata.feedback must be a number <= 1: it is left out"),
    ],
)  # fmt: skip
def test_what_is_odd_about_a_line_that_counts_is_a_warning(text, told):
    """Clean ones have none."""
    assert said(text) == [told]
    assert said(line()) == []


@pytest.mark.parametrize(
    ("hours", "seconds", "warned"), [(2, 20, True), (-1, 0, True), (0, 20, False), (2, 900, False)]
)
def test_a_zone_that_is_wrong_shows_in_the_time_of_the_file(hours, seconds, warned):
    """The newest line is whole hours off."""
    lint = Lint()
    at = lint.line(line())[0].at
    assert [remark.kind for remark in lint.end(at + hours * 3600 + seconds)] == (["zone"] if warned else [])


def test_times_on_whole_seconds_alone_are_warned_of():
    """Twenty at least, and every one of them."""
    for last, warned in (("2026-03-18T09:15:59Z", ["whole_seconds"]), ("2026-03-18T09:15:59.001Z", [])):
        lint = Lint()
        for text in [line(timestamp=f"2026-03-18T09:15:{second:02}Z") for second in range(20)] + [line(timestamp=last)]:
            lint.line(text)
        assert [remark.kind for remark in lint.end(None)] == warned


def test_strict_fails_for_warnings_and_json_is_for_machines(tmp_path, capsys):
    """One object a line; the last one has the sums."""
    log = tmp_path / "a.log"
    log.write_bytes(line(status="weird") + b"\n" + line() + b"\n")
    os.utime(log, (0, 0))
    assert command(["validate", str(log)]) == 0
    assert capsys.readouterr().out.replace(str(log), "LOG") == (
        "LOG:1: warning: status_other: status weird counts as other: `statuses` of the config has the words\n"
        '    …"status": "weird"}\n'
        "2 lines: 2 accepted, 0 rejected; 1 warning (1 status_other)\n"
    )
    assert command(["validate", "--strict", str(log)]) == 1
    capsys.readouterr()
    log.write_bytes(line(status="weird") + b"\n" + line(agent_id=7) + b"\n")
    assert command(["validate", "--json", str(log)]) == 1
    shown = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
    assert [(one["line"], one["level"], one["kind"], one["field"]) for one in shown[:-1]] == [
        (1, "warning", "status_other", "status"),
        (2, "error", "wrong_type", "agent_id"),
    ]
    assert shown[-1] == {
        "lines": 2, "accepted": 1, "ignored": 0, "rejected": {"wrong_type": 1}, "warnings": {"status_other": 1},
    }  # fmt: skip


def test_the_config_has_the_words_and_the_prices(tmp_path, capsys):
    """Then nothing is odd."""
    log, config = tmp_path / "a.log", tmp_path / "c.yaml"
    log.write_bytes(line(status="weird", tokens={"prompt": 1, "model": "own"}) + b"\n")
    config.write_text("statuses: {error: [weird]}\nprices: {models: {own: {input: 1, output: 1}}}")
    assert command(["validate", "--strict", "--config", str(config), str(log)]) == 0
    assert capsys.readouterr().out == "1 lines: 1 accepted, 0 rejected\n"


@given(records | st.sampled_from([bad for bad, *_ in BAD]) | st.binary(max_size=99))
def test_whatever_a_line_is_it_is_rejected_if_and_only_if_it_has_a_fault(value):
    """And what is shown of it is printable."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    result, remarks = Lint().line(text)
    faults = [remark for remark in remarks if not remark.is_warning]
    assert isinstance(result, Action | Foreign) == (not faults)
    assert isinstance(result, Action | Foreign) or (
        faults[0].kind == result.reason and faults[0].detail.startswith((result.detail, f"{faults[0].field} holds "))
    )
    assert all(remark.kind in {*REASONS, *WARNINGS} for remark in remarks)
    assert all((remark.detail + remark.excerpt).isprintable() for remark in remarks)


def test_of_a_line_with_very_many_names_only_the_first_are_compared():
    """Each comparison takes time, in which a running exporter reads nothing."""
    many = {f"took_time_{number:05}": 1 for number in range(40_000)}
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(names, "meant_by", seen.append)
        assert said(line(**many)) == []
    assert 0 < len(seen) <= names.MAX_NAMES

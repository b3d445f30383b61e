"""The log contract: what is accepted, what is rejected, and what the author of a line is told."""

from __future__ import annotations

import base64
import gzip
import json
import math
from hashlib import sha256

import msgspec
import pytest
from conftest import LOGS, line, record
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agent_exporter.action import (
    MAX_AHEAD,
    OPTIONAL_FIELDS,
    REASONS,
    Action,
    Mended,
    Metadata,
    Record,
    Rejection,
    decode,
    depth,
    trace_id_of,
)
from agent_exporter.config import parse
from agent_exporter.detectors.fingerprint import fingerprint
from agent_exporter.schema import schema
from agent_exporter.statuses import DEFAULTS


def test_the_articles_sample_line_becomes_an_action_with_every_field():
    """Nothing of the article's schema is lost."""
    text = (LOGS / "article.ndjson").read_bytes().strip()
    action = decode(text)
    assert msgspec.to_builtins(action) == {
        " at": 1773825332.441,
        " line": base64.b64encode(text).decode(),
        "timestamp": "2026-03-18T09:15:32.441000Z",
        "agent_id": "research-agent-01",
        "session_id": "sess_8f2a1b",
        "action": "web_search",
        "status": "success",
        "input": {},
        "output": {"confidence": 0.87, "state": None, "detail": None, "error": None},
        "tokens": {
            "prompt": 1240,
            "completion": 856,
            "cache_read": None,
            "cache_write": None,
            "model": "claude-sonnet-4-20250514",
            "cost_usd": 0.0089,
        },
        "duration_ms": 2340.0,
        "parent_trace_id": "trace_4c9e2f",
        "trace_id": None,
        "span_id": None,
        "parent_span_id": None,
        "error": None,
        "metadata": {
            "retry_count": 0,
            "fallback_used": False,
            "task_type": None,
            "team": None,
            "parent_agent_id": None,
            "session_end": None,
            "session_paused": None,
            "task_completed": None,
            "feedback": None,
        },
    }
    assert (action.at, action.duration, action.line) == (1773825332.441, 2.34, text)


def test_input_and_output_are_decoded_only_when_asked_for():
    """They stay in the line as they were written; absent and null are unknown."""
    given_input, given_output = decode(line(input={"q": [1, {"b": "c"}]}, output="text")).contents()
    assert (json.loads(given_input), given_output) == ({"q": [1, {"b": "c"}]}, b'"text"')
    assert decode(line()[:-1] + b', "output": null}').contents() == (None, None)


def test_a_key_that_is_named_like_a_field_of_ours_is_an_unknown_one():
    """Unknown fields are kept out of the way."""
    action = decode(line(**{" at": "x", " line": [1]}))
    assert (action.at, action.line[:1]) == (1773825332.441, b"{")


def test_an_action_cannot_be_changed():
    """Sinks share it."""
    with pytest.raises(AttributeError):
        decode(line()).status = "error"


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"error": {"type": "Timeout", "message": "m"}}, "Timeout", "m"),
        ({"error": "boom"}, None, "boom"),
        ({"output": {"error": {"type": "RateLimit"}}}, "RateLimit", None),
        ({"output": {"error": "boom"}}, None, "boom"),
        ({"error": {"type": "A"}, "output": {"error": {"type": "B"}}}, "A", None),
    ],
)
def test_an_error_is_found_wherever_agents_write_it(fields, kind, message):
    """In `error` or in `output.error`, as an object or as text."""
    action = decode(line(status="error", **fields))
    assert (action.error_type, action.error_message) == (kind, message)


@pytest.mark.parametrize(
    ("written", "counted"),
    [
        *((word, status) for status, words in DEFAULTS.items() for word in words),
        *(("OK", "success"), ("FAILED", "error"), ("Exception", "error"), ("Timed Out", "timeout")),
        *(("DEADLINE-EXCEEDED", "timeout"), ("TimedOut", "timeout"), ("Canceled", "cancelled")),
        *(("weird", "other"), ("", "other"), ("not ok", "other"), ("errored?", "other")),
    ],
)
def test_usual_words_for_a_status_count_in_any_case(written, counted):
    """All others are `other`: the label stays closed."""
    assert decode(line(status=written)).status == counted


@pytest.mark.parametrize(
    ("fields", "counted"),
    [
        ({"error": "boom"}, "error"),
        ({"error": {"code": 5}}, "error"),
        ({"error": True}, "error"),
        ({"output": {"error": {"type": "RateLimit"}}}, "error"),
        ({"error": ""}, "other"),
        ({"error": {}}, "other"),
        ({"output": {"error": False}}, "other"),
        ({"output": "error"}, "other"),
        ({}, "other"),
    ],
)
def test_an_unknown_status_is_an_error_on_a_line_that_has_one(fields, counted):
    """A known one is what it says."""
    assert decode(line(status="halted", **fields)).status == counted
    assert decode(line(status="ok", **fields)).status == "success"


def test_the_words_of_statuses_are_the_configs():
    """A list replaces its default; the status itself always counts."""
    found = parse("statuses: {error: [rejected, Not Good]}").statuses.words()
    given = ["REJECTED", "not_good", "error", "failed", "ok"]
    assert [decode(line(status=word), words=found).status for word in given] == ["error"] * 3 + ["other", "success"]


@pytest.mark.parametrize(
    ("output", "state"),
    [
        ({"state": "idle"}, "idle"),
        ({"state": "working", "detail": "on X"}, "working"),
        ({}, "other"),
        (None, "other"),
        ("idle", "other"),
    ],
)
def test_a_heartbeat_tells_its_state(output, state):
    """Anything but idle and working is other."""
    assert decode(line(action="heartbeat", output=output)).state == state


BAD = [
    (b"plain text", "not_json", "not JSON: invalid character (byte 0)"),
    (b'{"a": 1', "not_json", "not JSON: the text ends too soon"),
    (b"{} x", "not_json", "not JSON: trailing characters (byte 4)"),
    (
        line()[:-1] + b', "duration_ms": NaN}',
        "not_json",
        "NaN and Infinity are not JSON: leave the field out, or write null",
    ),
    (
        line()[:-1] + b', "duration_ms": -Infinity}',
        "not_json",
        "NaN and Infinity are not JSON: leave the field out, or write null",
    ),
    (line() + b"\0", "not_json", "not JSON: trailing characters (byte 119)"),
    (
        b"\xef\xbb\xbf" + line(),
        "not_json",
        "a byte order mark (EF BB BF) stands before the record: leave it out",
    ),
    (b"[1]", "not_object", "a record is an object {...}, not an array"),
    (b'"text"', "not_object", "a record is an object {...}, not a string"),
    (b"12", "not_object", "a record is an object {...}, not a whole number"),
    (b"null", "not_object", "a record is an object {...}, not null"),
    (b"{}", "missing_field", "timestamp is required"),
    (line(agent_id=None), "missing_field", "agent_id is required"),
    (line(agent_id=7), "wrong_type", "agent_id must be a string, not a whole number"),
    (line(tokens={"prompt": True}), "wrong_type", "tokens.prompt must be a whole number, not true or false"),
    (line(tokens={"prompt": "5"}), "wrong_type", "tokens.prompt must be a whole number, not a string"),
    (
        line(tokens={"prompt": 12.0}),
        "wrong_type",
        "tokens.prompt must be a whole number, not a number with a fraction or exponent",
    ),
    (line(tokens=[1]), "wrong_type", "tokens must be an object, not an array"),
    (
        line(timestamp=1773825332),
        "wrong_type",
        "timestamp must be a string such as 2026-03-18T09:15:32.441Z, not a whole number",
    ),
    (line(agent_id=""), "out_of_range", "agent_id must be 1 to 256 bytes of UTF-8"),
    (line(session_id="é" * 129), "out_of_range", "session_id must be 1 to 256 bytes of UTF-8"),
    (line(tokens={"prompt": -1}), "out_of_range", "tokens.prompt must be a whole number >= 0"),
    (line(tokens={"prompt": 2**53 + 1}), "out_of_range", "tokens.prompt must be a whole number <= 10000000"),
    (line(tokens={"prompt": 10**400}), "out_of_range", "tokens.prompt must be a whole number <= 10000000"),
    (line(tokens={"cost_usd": 10001}), "out_of_range", "tokens.cost_usd must be a number <= 10000"),
    (
        line()[:-1] + b', "duration_ms": 1e400}',
        "out_of_range",
        "a number is too large for a 64-bit float: numbers must be finite",
    ),
    (line(trace_id="x", tokens={"prompt": -1}), "out_of_range", "tokens.prompt must be a whole number >= 0"),
    (
        line(agent_id=7)[:-1] + b', "output": NaN}',
        "wrong_type",
        "agent_id must be a string, not a whole number",
    ),
    (
        line(timestamp="2026-03-18T09:15:32"),
        "bad_timestamp",
        "timestamp must be RFC 3339, a moment that exists (without leap seconds), with a zone, such as 2026-03-18T09:15:32.441Z",
    ),
    (
        line(timestamp="2026-02-30T00:00:00Z"),
        "bad_timestamp",
        "timestamp must be RFC 3339, a moment that exists (without leap seconds), with a zone, such as 2026-03-18T09:15:32.441Z",
    ),
    (
        line(timestamp="yesterday"),
        "bad_timestamp",
        "timestamp must be RFC 3339, a moment that exists (without leap seconds), with a zone, such as 2026-03-18T09:15:32.441Z",
    ),
    (line(timestamp="1969-12-31T23:59:59Z"), "bad_timestamp", "timestamp 1969-12-31T23:59:59+00:00 is before 1970"),
    (line()[:-1] + b', "action": "\xff"}', "bad_encoding", "byte 130 is not UTF-8: write the line as UTF-8"),
    (line(agent_id="\ud800"), "bad_encoding", "half of a surrogate pair (\\ud800 to \\udfff) stands alone in a string"),
    (line(tokens=json.loads("[" * 64 + "]" * 64)), "too_deep", "objects and arrays may be nested 64 deep at most"),
    (line(agent_id=json.loads("[" * 64 + "]" * 64)), "too_deep", "objects and arrays may be nested 64 deep at most"),
    (b'{"x":' + b"[" * 100_000, "too_deep", "objects and arrays may be nested 64 deep at most"),
    (b'{"x":' + b'{"a":' * 100_000, "too_deep", "objects and arrays may be nested 64 deep at most"),
]


@pytest.mark.parametrize(
    ("text", "reason", "detail"), BAD, ids=[f"{reason}-{index}" for index, (_, reason, _) in enumerate(BAD)]
)
def test_a_bad_line_is_rejected_with_a_reason_and_a_sentence(text, reason, detail):
    """The reason is from the closed set, the sentence says what to change."""
    assert decode(text, latest=4e9) == Rejection(reason, detail)


def test_every_reason_but_the_sources_own_has_an_example():
    """too_long is told by whoever reads the line."""
    assert {reason for _, reason, _ in BAD} == set(REASONS) - {"too_long"}


OUTPUTS = [
    ({"detail": [{"loc": ["body"], "msg": "field required"}]}, ("output.detail",)),
    ({"error": False, "rows": 3}, ("output.error",)),
    ({"error": {"type": 404, "message": "not found"}}, ("output.error.type",)),
    ({"error": [], "state": {"on": True}, "confidence": "high"}, ("output.confidence", "output.error", "output.state")),
    ({"state": 2, "confidence": 93}, ("output.confidence", "output.state")),
    ([{"id": 1}, [2]], ()),
    (3, ()),
    (0.5, ()),
    (False, ()),
    (10**400, ()),
    ([10**400, 1], ()),
]


@pytest.mark.parametrize(("output", "ignored"), OUTPUTS)
def test_what_a_tool_answered_never_decides_whether_its_line_counts(output, ignored):
    """Known keys are used where they fit; the answer itself stays as it was written, and can be compared."""
    text = line(input=[1], output=output, tokens={"prompt": 7})
    action = decode(text)
    assert (getattr(action, "ignored", ()), action.tokens.prompt, action.line) == (ignored, 7, text)
    assert json.loads(action.contents()[1]) == output
    fingerprint(action.line)


OPTIONAL = [
    ({"trace_id": "0" * 32}, ("trace_id",)),
    ({"span_id": "12", "parent_span_id": 12, "trace_id": ""}, ("parent_span_id", "span_id", "trace_id")),
    ({"parent_trace_id": {"id": "t"}}, ("parent_trace_id",)),
    ({"metadata": "x"}, ("metadata",)),
    (
        {"metadata": {"fallback_used": 1, "retry_count": "2", "feedback": 1.5, "session_end": "yes"}},
        ("metadata.fallback_used", "metadata.feedback", "metadata.retry_count", "metadata.session_end"),
    ),
    ({"error": 5}, ("error",)),
    ({"error": {"type": 5, "message": ["m"]}}, ("error.message", "error.type")),
    ({"tokens": {"model": ["gpt-4o"]}}, ("tokens.model",)),
]


@pytest.mark.parametrize(("fields", "ignored"), OPTIONAL)
def test_an_optional_field_that_does_not_fit_is_absent(fields, ignored):
    """The rest of the line counts, with the other fields of the same object."""
    fields = (
        fields | {"metadata": {"team": "t"} | fields["metadata"]} if type(fields.get("metadata")) is dict else fields
    )
    action = decode(line(**fields))
    assert isinstance(action, Action)
    assert action.ignored == ignored
    assert action.trace_id is action.span_id is action.parent_span_id is action.parent_trace_id is None
    assert type(fields.get("metadata")) is not dict or action.metadata.team == "t"


@pytest.mark.parametrize(
    ("fields", "ignored", "output"),
    [
        (b'"output": {"x": [NaN, -Infinity, 1e999], "confidence": NaN}', ("output.confidence",), b'{"x": [null, null, null], "confidence": null}'),
        (b'"output": NaN', (), None),
        (b'"output": "half \\ud83d of it"', (), b'"half \\ufffd of it"'),
        (b'"output": {"\\udc00": "\xff\xed\xa0\x80"}', (), b'{"\\ufffd": "\\ufffd\\ufffd\\ufffd\\ufffd"}'),
        (b'"output": {"n": ' + b"9" * 5000 + b', "x": NaN}', (), b'{"n": null, "x": null}'),
        (b'"metadata": {"team": NaN}, "parent_trace_id": "\\ud800"', ("metadata.team", "parent_trace_id"), None),
        (b'"unknown": ["\\ud800", NaN, "\xff"]', (), None),
    ],
)  # fmt: skip
def test_content_that_is_not_quite_json_is_mended(fields, ignored, output):
    """Python writes NaN, JavaScript half surrogate pairs. What is kept of the line is JSON for whoever reads it next."""
    action = decode(line()[:-1] + b", " + fields + b"}")
    assert isinstance(action, Action)
    assert (action.ignored, action.contents()[1]) == (ignored, output)
    json.loads(action.line.decode(), parse_constant=pytest.fail)
    fingerprint(action.line)


def test_the_fields_that_may_be_ignored_are_a_closed_set():
    """They are the label `field`."""
    assert set(OPTIONAL_FIELDS) == {
        *("error", "error.message", "error.type", "metadata", "output.confidence", "output.detail", "output.error"),
        *("output.error.message", "output.error.type", "output.state", "parent_span_id", "parent_trace_id", "span_id"),
        *("tokens.model", "trace_id"),
        *(f"metadata.{name}" for name in Metadata.__struct_fields__),
    }


@pytest.mark.parametrize(
    "text",
    [
        line(x=json.loads("[" * 63 + "]" * 63)),
        line(x="{[" * 1000),
        line(x=[{}] * 1000),
        line(tokens={"prompt": 10_000_000}),
        line(timestamp="2026-03-18t09:15:32.123456789+05:30"),
        line(agent_id="é" * 128),
        line(duration_ms=-0.0),
        line(unknown=1e300, other={"tokens": "x"}),
        line()[:-1] + b', "x": 1e999}',
        line(tokens=None, metadata=None, error=None)[:-1] + b', "tokens": null, "input": null}',
        line() + b"\r",
        b" \t" + line(),
    ],
)
def test_what_looks_odd_and_is_allowed_is_accepted(text):
    """Unknown fields are kept out of the way, brackets in strings do not nest, null is unknown."""
    assert isinstance(decode(text), Action)


def test_a_duplicate_key_counts_once_and_the_last_one_wins_for_every_consumer():
    """There is one decode path, so metric, span and budget cannot differ."""
    text = line()[:-1] + b', "tokens": {"prompt": 1}, "tokens": {"prompt": 2}}'
    assert decode(text).tokens.prompt == 2


def test_a_line_more_than_ten_minutes_ahead_counts_as_written_now():
    """One of the two clocks is wrong, and it may be this one. Clocks differ a little anyway."""
    latest = 1773825332.441
    assert type(decode(line(), latest)) is Action
    ahead = decode(line(), latest - 0.001)
    assert (type(ahead), ahead.ahead, ahead.at, ahead.written) == (Mended, True, latest - 0.001 - MAX_AHEAD, latest)
    both = decode(line(metadata={"feedback": 7}, timestamp="9999-12-31T23:59:59Z"), latest)
    assert (both.ahead, both.ignored, both.at) == (True, ("metadata.feedback",), latest - MAX_AHEAD)


def test_a_trace_id_is_taken_as_it_is_or_hashed():
    """The collector computes the same with Substring(SHA256(x),0,32)."""
    assert trace_id_of("4BF92F3577B34DA6A3CE929D0E0E4736") == "4bf92f3577b34da6a3ce929d0e0e4736"
    for name in ("trace_4c9e2f", "0" * 32, "é", "4BF92F3577B34DA6A3CE929D0E0E473G", ""):
        assert trace_id_of(name) == sha256(name.encode()).hexdigest()[:32]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        (b"", 0),
        (b"{}", 1),
        (b"[[]]", 2),
        (b'{"a":[{}]}', 3),
        (b'"[[["', 0),
        (b'{"a":"\\"[["}', 1),
        (b"[[[", 3),
        (b'[{}, {"a": []}]', 3),
    ],
)
def test_depth_counts_brackets_outside_of_strings(text, level):
    """Of text that is cut off it tells a lower bound."""
    assert depth(text) == level


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 1_000_000,
        b'{"a":' * 200_000,
        b"[" * 60 + b"{}," * 300_000,
        b'{"x":"' + b"\\" * 1_000_000,
        (b"[" * 64 + b"]" * 64) * 8000,
    ],
)
def test_a_bomb_of_brackets_costs_little(text):
    """Work that grows with the square of the line would keep this test for minutes."""
    assert isinstance(decode(text[: 1 << 20]), Rejection)


# --- the schema says what the decoder does -------------------------------------------------------------------------

VALIDATOR = Draft202012Validator(schema())

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
numbers = st.one_of(
    st.integers(-2, 12_000_000),
    st.floats(-2, 20_000, allow_nan=False),
    st.sampled_from([0, 1, -1, 0.5, 10_000, 31_622_400_000, 2**31]),
)
hexes = st.text("0123456789abcdefABCDEFg", min_size=15, max_size=33) | st.sampled_from(
    ["0" * 32, "0" * 16, "a" * 32, "b" * 16, "a" * 32 + "\n"]
)
stamps = st.sampled_from(
    [
        "2026-03-18T09:15:32.441Z",
        "2026-03-18 09:15:32+05:30",
        "2026-03-18T24:00:00Z",
        "2026-03-18T09:15:60Z",
        "x",
        "2026-03-18T09:15:32",
        "2026-03-18T09:15:32+0530",
        "2026-03-18T09:15:32z\n",
    ]
)


def struct(**fields):
    """Objects with some of these fields, each of the right kind or of any."""
    return st.fixed_dictionaries(
        {}, optional={name: kind | anything for name, kind in fields.items()} | {"extra": anything}
    )


errors = texts | struct(type=texts, message=texts)
records = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": stamps | anything,
        "agent_id": texts | anything,
        "session_id": st.just("s") | texts | anything,
        "action": st.just("search") | texts | anything,
        "status": st.just("success") | texts | anything,
        "input": struct() | anything,
        "output": struct(confidence=numbers, state=texts, error=errors, detail=texts) | anything,
        "tokens": struct(
            prompt=numbers, completion=numbers, cache_read=numbers, cache_write=numbers, model=texts, cost_usd=numbers
        )
        | anything,
        "duration_ms": numbers | anything,
        "parent_trace_id": texts | anything,
        "trace_id": hexes | anything,
        "span_id": hexes | anything,
        "parent_span_id": hexes | anything,
        "error": errors | anything,
        "metadata": struct(
            retry_count=numbers,
            fallback_used=st.booleans(),
            task_type=texts,
            team=texts,
            parent_agent_id=texts,
            session_end=st.booleans(),
            task_completed=st.booleans(),
            feedback=numbers,
        )
        | anything,
    },
)


def integral_floats(value) -> bool:
    """Whether a number is written like 1.0 somewhere: JSON Schema calls it an integer, the decoder does not."""
    if isinstance(value, dict):
        return any(integral_floats(inner) for inner in value.values())
    if isinstance(value, list):
        return any(integral_floats(inner) for inner in value)
    return isinstance(value, float) and math.isfinite(value) and value == int(value)


@given(records)
def test_what_fits_the_schema_is_accepted_whole_and_the_other_way_round(value):
    """Less what DIFFERENCES names. What does not fit may still be accepted, without the fields that do not."""
    value = json.loads(json.dumps(value))
    result = decode(json.dumps(value).encode())
    if isinstance(result, Rejection) and (
        integral_floats(value) or "bytes" in result.detail or result.reason == "too_deep"
    ):
        return
    if isinstance(result, Mended) and (integral_floats(value) or not result.ignored):
        return
    assert VALIDATOR.is_valid(value) == (type(result) is Action), result


@given(records)
def test_without_the_fields_that_it_ignores_a_line_is_accepted_whole(value):
    """Ignoring is no more than leaving out: the action is the same."""
    text = json.dumps(value).encode()
    result = decode(text)
    if not isinstance(result, Mended):
        return
    less = json.loads(text)
    for path in result.ignored:
        *above, name = path.split(".")
        part = less
        for key in above:
            part = part[key]
        del part[name]
    again = decode(json.dumps(less).encode())
    names = [name for name in Record.__struct_fields__ if name not in {"input", "output"}]
    assert [getattr(again, name) for name in names] == [getattr(result, name) for name in names]


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8))  # fmt: skip
def test_any_content_is_accepted_and_what_is_kept_of_it_is_json(content):
    """NaN, huge numbers, half surrogate pairs: in input, output and what the agent adds of its own."""
    action = decode(line(input=content, output=content, other=content, tokens={"prompt": 1}))
    assert isinstance(action, Action)
    json.loads(action.line.decode(), parse_constant=pytest.fail)
    assert [text is None or json.loads(text) for text in action.contents()]
    fingerprint(action.line)


@given(records)
def test_a_record_made_valid_is_accepted_by_both(value):
    """The generator above mostly makes bad records: here every field that is wrong is taken out."""
    value = json.loads(json.dumps(value))
    for key in list(value):
        if not VALIDATOR.is_valid(record() | {key: value[key]}):
            del value[key]
    whole = record() | value
    assert VALIDATOR.is_valid(whole)
    if not integral_floats(whole):
        result = decode(json.dumps(whole).encode())
        assert isinstance(result, Action), result


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_make_the_decoder_raise(text):
    """A reason from the closed set, or an action."""
    result = decode(text)
    assert isinstance(result, Action) or (result.reason in REASONS and result.detail.isprintable())


@given(records, st.data())
def test_no_damage_to_a_record_makes_the_decoder_raise(value, data):
    """Bytes cut out, doubled or overwritten."""
    text = bytearray(json.dumps(value, ensure_ascii=data.draw(st.booleans())).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    result = decode(bytes(text))
    assert isinstance(result, Action) or result.reason in REASONS


def test_every_real_line_is_accepted_by_both():
    """3,618 lines of real runs."""
    lines = gzip.decompress((LOGS / "tau-airline-gpt4o.ndjson.gz").read_bytes()).splitlines()
    assert len(lines) == 3618
    assert all(isinstance(decode(text), Action) for text in lines)
    assert all(VALIDATOR.is_valid(json.loads(text)) for text in lines[::20])


@pytest.mark.parametrize("error", [{"type": None, "message": None}, {"message": ""}, {"cause": {"code": None}}, False])
def test_an_error_of_nothing_is_none(error):
    """A word that is not known does not count as an error for it."""
    assert decode(line(status="settled", error=error)).status == "other"
    assert decode(line(status="settled", output={"error": error})).status == "other"
    assert decode(line(status="settled", error={"type": None, "message": "no"})).status == "error"


DEEP = '{"a": ' * 40 + "[" * 40 + '"\\"}", ":"' + "]" * 40 + "}" * 40


@pytest.mark.parametrize("name", ["input", "output", "error", "metadata", "trace_id", "unknown"])
@pytest.mark.parametrize("around", [{"k": "DEEP"}, ["DEEP", "]}"], "DEEP"])
def test_content_that_is_nested_too_deep_is_left_out_and_the_line_counts(name, around):
    """Equal content stays equal; names and brackets in strings, or further in, are others."""
    fields = {"metadata": {"team": "t"}, "tokens": {"prompt": 7}, "status": "error", name: around}
    text = line(**fields).decode().replace('"DEEP"', DEEP).encode()
    action = decode(text)
    assert isinstance(action, Mended)
    assert (action.cleaned, action.tokens.prompt, action.status) == (True, 7, "error")
    assert decode(text).contents() == action.contents()
    other = decode(text.replace(b'"a": [[', b'"b": [['))
    assert (other.contents() == action.contents()) == (name not in {"input", "output"})
    assert json.loads(action.line)["agent_id"] == action.agent_id


@given(st.binary(max_size=300).map(lambda noise: b'{"x":' + b"[" * 70 + noise))
def test_a_line_that_is_nested_too_deep_is_read_or_rejected(text):
    """Whatever it is made of."""
    assert isinstance(decode(text), Rejection)

"""The mapping language: what each form gives, all faults at once, what is counted once, and bounds."""

import json
import re
from typing import get_args, get_type_hints

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import ROOT

from agent_exporter.action import Error, Metadata, Output, Record, Tokens, decode
from agent_exporter.config.strict import ConfigError, document
from agent_exporter.formats.chosen import Choice
from agent_exporter.formats.mapping import files, stream
from agent_exporter.formats.mapping.keys import FIELDS, FORMAT, FORMS, FROM, RULE, TESTS
from agent_exporter.formats.mapping.language import Faulty, compile_mapping
from agent_exporter.formats.mapping.memory import Memory
from agent_exporter.formats.mapping.schema import schema
from agent_exporter.lines import MAX_LINE, Batch

SCHEMA = ROOT / "docs" / "format.schema.json"
EMIT = {
    "timestamp": "time",
    "agent_id": {"const": "a"},
    "session_id": {"const": "s"},
    "action": {"const": "x"},
    "status": {"const": "success"},
}


def mapping(text: str, name: str = "mine"):
    """Of YAML."""
    return compile_mapping(name, document(text, name))


def faults(text: str) -> list[str]:
    with pytest.raises(Faulty) as caught:
        mapping(text)
    return caught.value.faults


def value(spec, record, *, each=None, **variables):
    """What a value is of a record."""
    rule = {"when": {}, "emit": {"output.it": spec}}
    if each is not None:
        rule["each"] = each
    known = {name: {"const": x} for name, x in variables.items()}
    compiled = compile_mapping("mine", {"file": known, "records": [rule]})
    element = compiled.rules[0].each(record, None, {})[0] if each else None
    return compiled.rules[0].emit(record, element, compiled.variables("")).get("output", {}).get("it")


def lines_of(compiled, *records, memory=None, path=""):
    """The lines that records become in one stream."""
    return read(stream.Records(compiled, Memory() if memory is None else memory, path), *records)


def read(records, *given_):
    batch = records.feed(Batch([r if isinstance(r, bytes) else json.dumps(r).encode() for r in given_]))
    return [json.loads(line) for line in batch.lines]


RECORD = {
    "a": {"b": [{"c": 1}, {"c": 2}], "d.e": "dotted"},
    "t": "",
    "n": "17",
    "s": "took 1.5 s",
    "j": '{"x": {"y": 3}}',
}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("a.b[0].c", 1),
        ("a.b[-1].c", 2),
        ("a.b[2].c", None),
        ('a."d.e"', "dotted"),
        ("a.b.c", None),
        ("$who", "me"),
        ("$nobody.name", None),
        (["t", "missing", "n"], "17"),
        ({"const": False}, False),
        ({"text": "{n}/{a.b[0].c}"}, "17/1"),
        ({"text": "{n}/{missing}"}, None),
        ({"sum": ["n", "a.b[0].c", "missing", "s"]}, 18),
        ({"sum": ["missing"]}, None),
        ({"minus": [{"const": 1795190401}, {"const": 1795190400250}]}, 750.0),
        ({"minus": [{"const": "2026-03-18T09:15:32Z"}, {"const": "2026-03-18T09:15:33Z"}]}, 0.0),
        ({"from": "j", "json": "x.y"}, 3),
        ({"from": "j", "json": True}, {"x": {"y": 3}}),
        ({"from": "s", "json": True}, None),
        ({"from": "s", "regex": r"([\d.]+) s", "unit": "s"}, 1500.0),
        ({"from": "s", "regex": "nothing"}, None),
        ({"from": {"const": 2_500_000}, "unit": "ns"}, 2.5),
        ({"from": "n", "table": {17: "seventeen"}}, "seventeen"),
        ({"from": "missing", "table": {None: "absent"}, "else": "there"}, "absent"),
        ({"from": {"const": True}, "table": {True: "yes"}}, "yes"),
        ({"jmespath": "a.b[?c==`2`] | [0].c"}, 2),
        ({"jmespath": "length(n) > `1` && sum(n)"}, None),
    ],
)
def test_each_form_of_a_value(spec, expected):
    """Whatever is missing or of another kind gives nothing."""
    assert value(spec, RECORD, who="me", nobody=1) == expected


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-11-20T16:00:00.250Z", "2026-11-20T16:00:00.250Z"),
        ("2026-11-20 16:00:00,250", "2026-11-20T15:00:00.250000Z"),
        ("2026-11-20T16:00:00.25+02:00", "2026-11-20T14:00:00.250000Z"),
        (1795190400, "2026-11-20T16:00:00Z"),
        (1795190400.25, "2026-11-20T16:00:00.250000Z"),
        (1795190400250, "2026-11-20T16:00:00.250000Z"),
        (1795190400250000, "2026-11-20T16:00:00.250000Z"),
        ("1795190400250000000", "2026-11-20T16:00:00.250000Z"),
        ("yesterday", None),
        (True, None),
        (1e300, None),
    ],
)
def test_times_of_any_scale_and_a_zone_for_those_that_name_none(time, expected):
    compiled = mapping("timezone: Europe/Berlin\nrecords: [{when: {}, emit: {timestamp: t}}]")
    assert lines_of(compiled, {"t": time}) == [{"timestamp": expected} if expected else {}]


@pytest.mark.parametrize(
    ("condition", "holds", "fails"),
    [
        ("{x: 1}", [{"x": 1}, {"x": 1.0}], [{"x": "1"}, {}]),
        ("{x: true}", [{"x": True}], [{"x": 1}, {"x": "true"}]),
        ("{x: [a, b]}", [{"x": "a"}], [{"x": "c"}, {"x": ["a"]}, {"x": {"a": 1}}]),
        ("{x: present}", [{"x": 0}, {"x": ""}], [{"x": None}, {}]),
        ("{x: absent}", [{"x": None}, {}], [{"x": 0}]),
        ("{x: {is: present}}", [{"x": "present"}], [{"x": 1}]),
        ("{x: {not: [a, b]}}", [{"x": "c"}, {}], [{"x": "a"}]),
        ("{x: {like: '^ab+$'}}", [{"x": "abb"}], [{"x": "a"}, {"x": 5}, {}]),
        (
            "{x: {before: y}}",
            [{"x": 1795190400, "y": "2026-11-20T16:00:01Z"}],
            [{"x": 1795190400.2, "y": 1795190400.9}, {"x": 1}],
        ),
        ("{x: 1, y: 2, z: 3}", [{"x": 1, "y": 2, "z": 3}], [{"x": 1, "y": 2}]),
    ],
)
def test_each_form_of_a_condition(condition, holds, fails):
    compiled = mapping(f"records: [{{when: {condition}, emit: {{action: {{const: x}}}}}}]")
    assert [len(lines_of(compiled, record)) for record in (*holds, *fails)] == [1] * len(holds) + [0] * len(fails)


def test_the_first_rule_that_fits_takes_a_record():
    """Unless it says `continue`; a switch finds the rules of a type and keeps their order."""
    text = """
    switch: type
    records:
    - {when: {type: a}, emit: {action: {const: one}}, continue: true}
    - {when: {x: 1}, emit: {action: {const: two}}}
    - {when: {type: [a, b]}, emit: {action: {const: three}}}
    - {when: {type: present}, emit: {action: {const: four}}}
    """
    for compiled in (mapping(text), mapping(text.replace("switch: type", ""))):
        read_ = [
            line["action"]
            for line in lines_of(compiled, {"type": "a"}, {"type": "a", "x": 1}, {"type": "b"}, {"type": "c"})
        ]
        assert read_ == ["one", "three", "one", "two", "three", "four"]


def test_a_call_is_a_pair_of_records():
    """An end without a start is a line as well; a start alone is none."""
    compiled = mapping("""
    records:
    - {when: {k: start}, start: id, keep: {what: name, input: args, at: time}}
    - when: {k: end}
      end: id
      emit: {action: ["$start.what", {const: tool}], input: "$start.input", duration_ms: {minus: [time, "$start.at"]}}
    """)
    start = {"k": "start", "id": 7, "name": "grep", "args": {"q": ["x", 1]}, "time": 1795190400}
    assert lines_of(compiled, start, {"k": "end", "id": 7, "time": 1795190401.5}, {"k": "end", "id": 7}) == [
        {"action": "grep", "input": {"q": ["x", 1]}, "duration_ms": 1500.0},
        {"action": "tool"},
    ]


def test_each_element_of_a_list_is_a_line():
    compiled = mapping("""
    records:
    - {when: {}, each: items, where: {"@.k": [a, b]}, emit: {action: "@.k", session_id: s}}
    """)
    assert lines_of(compiled, {"s": "1", "items": [{"k": "a"}, {"k": "c"}, 5, {"k": "b"}]}, {"items": {"k": "a"}}) == [
        {"action": "a", "session_id": "1"},
        {"action": "b", "session_id": "1"},
    ]


def test_what_a_file_remembers():
    """Its name, and what earlier records said."""
    compiled = mapping("""
    file: {who: {from: path, regex: 'agents/([^/]+)'}}
    records:
    - {when: {k: begin}, remember: {session: id}}
    - {when: {k: act}, emit: {agent_id: $who, session_id: $session}}
    """)
    assert lines_of(compiled, {"k": "act"}, {"k": "begin", "id": "s1"}, {"k": "act"}, path="/x/agents/bob/log") == [
        {"agent_id": "bob"},
        {"agent_id": "bob", "session_id": "s1"},
    ]


ONCE = """
records:
- {when: {}, once: id, emit: {action: {const: llm_call}, tokens.prompt: i, tokens.completion: o}}
"""


def test_what_is_told_again_counts_once_and_then_only_its_growth():
    """In whatever file: a fork brings the history of another."""
    memory, compiled = Memory(), mapping(ONCE)
    assert lines_of(
        compiled,
        {"id": "m", "i": 10, "o": 1},
        {"id": "m", "i": 10, "o": 1},
        {"id": "m", "i": 10, "o": 7},
        memory=memory,
    ) == [
        {"action": "llm_call", "tokens": {"prompt": 10, "completion": 1}},
        {"action": "llm_call", "tokens": {"prompt": 0, "completion": 6}},
    ]
    assert (
        lines_of(compiled, {"id": "m", "i": 10, "o": 7}, {"id": "n"}, {"id": "n"}, {}, {}, memory=memory)
        == [{"action": "llm_call"}] * 3
    )


def test_running_totals_become_what_was_added():
    """Told again they are nothing; lower ones begin anew; muted ones only move the total."""
    compiled = mapping("""
    records:
    - {when: {copy: true}, delta: $who, mute: true, emit: {tokens.prompt: i}}
    - {when: {}, delta: $who, emit: {tokens.prompt: i}}
    file: {who: {const: me}}
    """)
    totals = [{"i": 10}, {"i": 10}, {"i": 15}, {"i": 100, "copy": True}, {"i": 103}, {"i": 4}, {"i": 0}]
    assert [line["tokens"]["prompt"] for line in lines_of(compiled, *totals)] == [10, 5, 3, 4]


def test_all_faults_of_a_mapping_are_reported_at_once():
    """Each with its path."""
    assert faults("""
    descripton: x
    max_line: 5
    timezone: Mars
    switch: 7
    type: {}
    file: {start: {const: 1}}
    detect: {a: 1}
    defaults: {agent: {const: a}, tokens.prompt: "a..b"}
    records:
    - {when: {x: {likes: y}}, emit: {status: {const: [1]}, input: a, input.b: c}}
    - {when: {x: {like: '(('}}, emitt: {}}
    - {emit: {action: "@.x", session_id: $sesion}, remember: {session: "x y"}}
    - {keep: {a: b}, where: {c: d}, once: e, mute: 1}
    - {emit: {action: {text: "{x"}, duration_ms: {from: a, unit: h}, input: {from: b}, output: {sum: x}, status: []}}
    - {emit: {status: {from: a, table: 5}, action: {from: x, jsn: true}, session_id: {jmespath: "a["}, duration_ms: {minus: [a]}}}
    - 5
    """) == [
        "descripton: unknown key; did you mean description?",
        "max_line: must be a whole number of bytes from 1048576 to 67108864, not 5",
        "timezone: must be a zone such as UTC or Europe/Berlin, not 'Mars'",
        "file.start: has a meaning of its own: choose another name",
        "type: must be a path, a list of values, or a form (const, text, sum, minus, from, jmespath), not {}",
        "detect: must be a list, not {'a': 1}",
        "switch: must be a path, not 7",
        "defaults.agent: unknown key; did you mean agent_id?",
        """defaults.tokens.prompt: must be a path such as a.b."c.d"[0], $name or @.name, not 'a..b'""",
        "records[0].when.x: must be one of {is: ...}, {not: ...}, {like: ...}, {before: ...}",
        "records[0].emit.status.const: must be a text, a number or a bool",
        "records[0].emit.input.b: input is emitted as a whole already",
        "records[1].emitt: unknown key; did you mean emit?",
        "records[1].when.x.like: must be a regular expression of RE2 (missing ): (()",
        "records[2].remember.session: must be a path such as a.b.\"c.d\"[0], $name or @.name, not 'x y'",
        "records[2].emit.action: @ is the element of each, which this rule does not have",
        "records[2].emit.session_id: no rule remembers $sesion; did you mean $session?",
        "records[3].where: goes with each",
        "records[3].keep: goes with start",
        "records[3].mute: must be true or false, not 1",
        "records[3].once: goes with emit",
        "records[3].mute: goes with emit",
        "records[4].emit.action.text: has a brace without its other",
        "records[4].emit.duration_ms.unit: must be s, ms, us, ns, not 'h'",
        "records[4].emit.input: from needs at least one of json, regex, unit, table, else",
        "records[4].emit.output.sum: must be a list of values",
        "records[4].emit.status: must have a value in it",
        "records[5].emit.status.table: must be a mapping from what is found to a text, a number or a bool; so must else",
        "records[5].emit.action.jsn: unknown key; did you mean json?",
        "records[5].emit.session_id.jmespath: must be a JMESPath expression such as a.b[0].c",
        "records[5].emit.duration_ms.minus: must be a list of two values: the later time, then the earlier",
        "records[6]: must be a mapping, not 5",
    ]


@pytest.mark.parametrize("text", ["", "5", "[]", "records: []", "records: {}", "extends: nothing"])
def test_a_document_without_rules_is_no_mapping(text, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=str(path)):
        files.load(str(path))


def test_the_fields_are_those_of_the_schema():
    """All that a line may have, and nothing else."""
    parts = {"output": Output, "tokens": Tokens, "error": Error, "metadata": Metadata}
    hints = get_type_hints(Record)
    assert set(parts) < set(hints)
    known = {name for name in hints if name not in {"tokens", "metadata"}}
    known |= {f"{name}.{field}" for name, struct in parts.items() for field in get_type_hints(struct)}
    assert set(FIELDS) == known
    assert get_args(hints["timestamp"]) == ()


def test_the_json_schema_is_fresh(request):
    """`pytest --update tests/test_mapping.py` writes it."""
    text = json.dumps(schema(), indent=2) + "\n"
    if request.config.getoption("--update"):
        SCHEMA.write_text(text)
    assert SCHEMA.read_text() == text


def plainly(spec):
    """A YAML document as JSON has it: keys are texts."""
    if isinstance(spec, dict):
        return {
            "null" if key is None else str(key).lower() if isinstance(key, bool) else str(key): plainly(inner)
            for key, inner in spec.items()
        }
    return [plainly(inner) for inner in spec] if isinstance(spec, list) else spec


@pytest.mark.parametrize("name", files.names())
def test_the_formats_that_come_with_the_package_fit_the_schema(name):
    jsonschema.validate(plainly(document(files.source(name), name)), schema())
    assert files.load(name).description


@pytest.mark.parametrize(
    "broken",
    [
        "descripton: x",
        "max_line: 5",
        "records: [{emit: {agent: a}}]",
        "records: [{emit: {action: {konst: a}}}]",
        "records: [{emit: {action: {from: a}}}]",
        "records: [{emit: {duration_ms: {from: a, unit: h}}}]",
        "records: [{when: {x: {likes: y}}, emit: {action: b}}]",
        "records: [{emits: {action: b}}]",
        "records: [{remember: {a b: c}}]",
    ],
)
def test_the_schema_refuses_what_the_compiler_does(broken):
    text = broken if "records" in broken else f"{broken}\nrecords: [{{emit: {{action: b}}}}]"
    assert faults(text)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plainly(document(text, "")), schema())


# --- bounds ------------------------------------------------------------------------------------------------------


def test_the_memory_is_bounded_and_what_it_drops_is_counted():
    """The key that changed longest ago goes first; rows are only of what changed, and restore the order."""
    memory = Memory(2)
    for name in "abac":
        memory.put(name, [1])
    assert (len(memory), memory.get("b"), memory.evictions) == (2, None, 1)
    rows = {key: value for _, key, value in memory.changes()}
    assert {key: value is None for key, value in rows.items()} == {"a": False, "b": True, "c": False}
    assert list(memory.changes()) == []
    restored = Memory(2)
    restored.restore((key, value) for key, value in reversed(rows.items()) if value is not None)
    restored.put("d", [2])
    assert (restored.get("a"), restored.get("c"), restored.get("d")) == (None, [1], [2])


def test_open_calls_are_bounded_and_what_is_dropped_is_counted():
    compiled = mapping("records: [{when: {}, start: id, keep: {x: x}}]")
    memory = Memory()
    records = stream.Records(compiled, memory)
    read(records, *({"id": i} for i in range(stream.MAX_OPEN + 5)))
    assert memory.dropped_calls == 5
    read(records, *({"id": f"big{i}", "x": "y" * stream.MAX_KEPT} for i in range(100)))
    assert len(records.dump().open) < 100
    assert len(msgspec.msgpack.encode(records.dump())) < 2 * stream.MAX_OPEN_BYTES


def test_of_a_long_value_only_its_length_is_kept():
    compiled = mapping(
        'records: [{when: {k: 1}, start: id, keep: {x: x}}, {when: {k: 2}, end: id, emit: {input: "$start.x"}}]'
    )
    long = "y" * (stream.MAX_KEPT + 1)
    assert lines_of(compiled, {"k": 1, "id": 1, "x": long}, {"k": 2, "id": 1}) == [{"input": {"cut": len(long)}}]


def test_a_line_that_the_decoder_would_not_take_is_cut():
    """Its content goes, its numbers stay."""
    compiled = mapping("records: [{when: {}, emit: {action: {const: x}, input: i, output: o, error.message: o}}]")
    [line] = lines_of(compiled, {"i": "a", "o": "b" * MAX_LINE})
    assert line == {"action": "x", "input": "a", "output": {"cut": MAX_LINE + 2}, "error": {"message": "b" * 8192}}


def test_a_record_cannot_become_more_than_memory_holds():
    """Ten thousand elements that each bring all of them."""
    compiled = mapping("records: [{when: {}, each: items, emit: {action: {const: x}, output: items}}]")
    batch = stream.Records(compiled, Memory()).feed(Batch([json.dumps({"items": ["x" * 50] * 10_000}).encode()]))
    assert sum(map(len, batch.lines)) <= stream.MAX_EMITTED
    assert batch.skipped == {"mine/too_many": 1}


def test_what_no_rule_takes_is_counted_by_its_type():
    """A type is hostile text."""
    compiled = mapping("type: t\nrecords: [{when: {t: known}}]")
    given_ = [{"t": "new"}, {"t": "new"}, {"t": "x" * 65}, {"t": 'a"}'}, {"t": {}}, {}, {"t": "known"}]
    batch = stream.Records(compiled, Memory()).feed(Batch([json.dumps(record).encode() for record in given_]))
    assert batch == Batch([], skipped={"mine/new": 2, "mine/other": 3, "mine/record": 1}, silent=1)


def test_what_is_no_record_of_the_format_is_passed_on():
    """Text, lists, and lines of ours, which the decoder judges. A prefix does not hide a record."""
    ours = b'{"agent_id":"a","session_id":"s","action":"x"}'
    compiled = mapping("records: [{when: {t: 1}, emit: {action: {const: y}}}]")
    lines = [b"text", b"[1]", b"5", ours, b'web-1  | {"t":1}', b'{"t":1,"x":NaN}', b'{"t":1,"x":"\\ud800"}', b"{"]
    assert stream.Records(compiled, Memory()).feed(Batch(lines)).lines == [
        b"text",
        b"[1]",
        b"5",
        ours,
        *[b'{"action":"y"}'] * 3,
        b"{",
    ]


# --- whatever comes ----------------------------------------------------------------------------------------------

words = st.sampled_from(
    [
        "type",
        "user",
        "assistant",
        "message",
        "content",
        "usage",
        "id",
        "uuid",
        "sessionId",
        "agentId",
        "tool_use",
        "tool_result",
        "tool_use_id",
        "is_error",
        "true",
        "name",
        "input",
        "timestamp",
        "2026-11-20T16:00:00.250Z",
        "payload",
        "session_meta",
        "turn_context",
        "event_msg",
        "response_item",
        "token_count",
        "function_call",
        "function_call_output",
        "call_id",
        "output",
        "info",
        "total_token_usage",
        "last_token_usage",
        "input_tokens",
        "output_tokens",
        "session",
        "messageX",
        "toolCall",
        "started_at",
        "task_started",
        "model",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | words | st.just("\ud800")
keys = words | st.text(max_size=3)
jsons = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5), max_leaves=20
)
payloads = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        (
            "type",
            "call_id",
            "id",
            "output",
            "info",
            "usage",
            "content",
            "role",
            "started_at",
            "model",
            "name",
            "input",
            "arguments",
        ),
        jsons,
    )
    | {"content": st.lists(st.dictionaries(words, jsons, max_size=5), max_size=3)},
)
records_ = st.fixed_dictionaries(
    {},
    optional={
        "type": words | jsons,
        "timestamp": words | jsons,
        "message": payloads | jsons,
        "payload": payloads | jsons,
        "sessionId": jsons,
        "uuid": jsons,
        "id": jsons,
    },
)
hostile = st.lists(
    st.binary(max_size=20)
    | records_.map(lambda r: json.dumps(r).encode())
    | jsons.map(lambda j: json.dumps(j).encode()),
    max_size=12,
)


@pytest.mark.parametrize("name", files.names())
@given(hostile, st.integers(0, 12))
def test_whatever_the_lines_are_a_format_reads_them_and_goes_on_where_it_was_dumped(name, lines, cut):
    """It never raises; each line that it makes is judged by the decoder; each record is counted somewhere."""
    choice, again = Choice.named(name), Choice.named(name)
    whole, first = choice.new("/agents/a/sessions/x.jsonl"), again.new("/agents/a/sessions/x.jsonl")
    batch = whole.feed(lines)
    before = first.feed(lines[:cut])
    restored = Choice(again.mapping)
    restored.memory.restore((key, value) for _, key, value in again.memory.changes())
    after = restored.load(first.dump(), "/agents/a/sessions/x.jsonl").feed(lines[cut:])
    assert before.lines + after.lines == batch.lines
    for line in batch.lines:
        decode(line)
    assert sum(batch.skipped.values()) + batch.silent <= len(lines)
    assert whole.end() == Batch([])


@given(hostile)
def test_a_stream_whose_format_is_looked_for_loses_nothing(lines):
    """What is passed on, skipped and silent is all of it, or more, as a record may become several lines."""
    format_ = Choice().new()
    batch = format_.feed(lines)
    again = Choice().load(format_.dump())
    assert (again.name, again.looking) == (format_.name, format_.looking)
    blank = sum(not line.removeprefix(b"\xef\xbb\xbf").strip() for line in lines)
    assert len(batch.lines) + sum(batch.skipped.values()) + batch.silent >= len(lines) - blank


# --- the docs ----------------------------------------------------------------------------------------------------

DOC = ROOT / "docs" / "formats.md"
TABLES = {"FORMAT": FORMAT, "RULE": RULE, "FORMS": FORMS, "FROM": FROM, "TESTS": TESTS}


def test_the_docs_have_every_key_with_its_meaning(request):
    """`pytest --update tests/test_mapping.py` writes the tables."""
    text = DOC.read_text()
    for name, keys in TABLES.items():
        rows = "".join(f"| `{key}` | {meaning} |\n" for key, meaning in keys.items())
        text, found = re.subn(
            rf"<!-- keys: {name} -->\n\n?(\|.*\n)*",
            lambda _, n=name, r=rows: f"<!-- keys: {n} -->\n| key | |\n|---|---|\n{r}",
            text,
        )
        assert found == 1, name
    if request.config.getoption("--update"):
        DOC.write_text(text)
    assert DOC.read_text() == text


def test_the_formats_in_the_docs_are_formats():
    """Each whole example."""
    examples = re.findall(r"```yaml\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert examples
    for example in examples:
        assert mapping(example).rules


def test_the_files_on_the_pages_of_formats_can_be_used(tmp_path):
    """They extend a format or a preset."""
    pages = sorted((ROOT / "docs" / "formats").glob("*.md"))
    blocks = [block for page in pages for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)]
    examples = [block for block in blocks if "extends:" in block]
    assert len(examples) >= 2
    for example in examples:
        path = tmp_path / "mine.yaml"
        path.write_text(example)
        assert files.load(str(path)).rules


def test_each_preset_is_on_the_page_of_loggers():
    text = (ROOT / "docs" / "formats" / "loggers.md").read_text()
    assert re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE) == [
        "pino", "bunyan", "winston", "zap", "slog", "structlog", "loguru", "python-json-logger", "logback", "serilog",
        "ecs", "gcp", "fluent-bit",
    ]  # fmt: skip
    assert sorted(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)) == files.presets()


@pytest.mark.parametrize("name", files.names())
def test_each_format_is_in_the_table(name):
    found = "found by itself" if files.load(name).detect else "has to be named"
    assert re.search(rf"^\| `{name}` \| .* \| {found} \|$", DOC.read_text(), re.MULTILINE)

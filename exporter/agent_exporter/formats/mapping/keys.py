"""The keys of the language and the fields that a mapping may emit, each with its meaning. The JSON Schema is made of
them (`schema`), and so is what `language` accepts.
"""

from __future__ import annotations

from typing import Any

TIME, TEXT, WHOLE, NUMBER, BOOL, ANY = "time", "text", "whole number", "number", "true or false", "any JSON"

FIELDS: dict[str, str] = {
    "timestamp": TIME,
    "agent_id": TEXT,
    "session_id": TEXT,
    "action": TEXT,
    "status": TEXT,
    "input": ANY,
    "output": ANY,
    "output.confidence": NUMBER,
    "output.state": TEXT,
    "output.detail": ANY,
    "output.error": ANY,
    "tokens.prompt": WHOLE,
    "tokens.completion": WHOLE,
    "tokens.cache_read": WHOLE,
    "tokens.cache_write": WHOLE,
    "tokens.model": TEXT,
    "tokens.cost_usd": NUMBER,
    "duration_ms": NUMBER,
    "parent_trace_id": TEXT,
    "trace_id": TEXT,
    "span_id": TEXT,
    "parent_span_id": TEXT,
    "error": ANY,
    "error.type": TEXT,
    "error.message": TEXT,
    "metadata.retry_count": WHOLE,
    "metadata.fallback_used": BOOL,
    "metadata.task_type": TEXT,
    "metadata.team": TEXT,
    "metadata.parent_agent_id": TEXT,
    "metadata.session_end": BOOL,
    "metadata.session_paused": BOOL,
    "metadata.task_completed": BOOL,
    "metadata.feedback": NUMBER,
}
"""What a rule may emit, and what it is turned into. `input.NAME` and `output.NAME` may be anything."""

COUNTED = ("prompt", "completion", "cache_read", "cache_write", "cost_usd")
"""Of `tokens`: what `once` and `delta` compare."""

FORMS = {
    "const": "this text, number or bool",
    "text": "a text with paths in braces; nothing, if one of them is missing",
    "sum": "of those of the values that are numbers",
    "minus": "milliseconds from the second time to the first",
    "from": "a value, and what is made of it",
    "jmespath": "a JMESPath expression on the record, for shapes that a path cannot reach; slow",
}
FROM = {
    "from": "the value",
    "json": "it is a text that holds JSON: true for all of it, or a path in it",
    "regex": "what this RE2 expression finds in it: its first group, or all of it",
    "unit": "it is a duration in s, ms, us or ns",
    "table": "what it stands for, by its text; null if it is missing",
    "else": "what anything that is not in the table stands for",
}
TESTS = {
    "is": "this, or one of these; also the words present and absent themselves",
    "not": "not this, nor one of these",
    "like": "a text in which this RE2 expression finds something",
    "before": "a time before the one at this path, in whole seconds",
}
RULE = {
    "when": "which records it is for; the first rule that fits takes a record",
    "continue": "true: the rules after it may take the record, too; if it emits nothing, it takes none itself",
    "each": "the path of a list: do this for each element, which is @ in paths",
    "where": "which elements",
    "remember": "variables of the file to set: $name in paths from now on",
    "start": "a call begins: its key",
    "keep": "what to keep of it until it ends: $start.name in paths of the rule that ends it",
    "end": "a call ends: its key",
    "once": "a key; what was emitted under it before, in any file, is not again, but for tokens by which it has grown",
    "delta": "a key; the tokens are running totals under it, and what is emitted is what was added",
    "mute": "true: nothing is emitted, but once and delta take note",
    "emit": "the fields of a line, each with its value",
}
FORMAT = {
    "description": "a sentence for `agent-exporter formats`",
    "extends": "the format or preset whose keys count where this file has none of its own, or a list of them, of "
    "which the later count first; their records follow the own ones",
    "max_line": "bytes of a line at most, 1 MiB to 64 MiB",
    "timezone": "of times that name none, such as Europe/Berlin; default UTC",
    "detect": "a list of conditions: a record for which one of them holds is of this format",
    "inside": "the value that is the record, where a shipper has wrapped it; the outer one is $outer",
    "type": "the value that records are counted by which no rule takes",
    "switch": "the path of a type by which rules are found faster; it must be in the `when` of most of them",
    "file": "variables of a file, from its path ({from: path, regex: ...}) or constant",
    "defaults": "fields that every rule emits that does not have them",
    "records": "the rules",
}
MAX_LINES = 1 << 20, 64 << 20
"""Bytes; the bounds of `max_line`."""


def field_kind(name: Any) -> str | None:
    """What a field is turned into; None if there is no such field."""
    if not isinstance(name, str):
        return None
    kind = FIELDS.get(name)
    if kind is None and name.partition(".")[0] in {"input", "output"} and name.count(".") == 1 and name[-1] != ".":
        return ANY
    return kind

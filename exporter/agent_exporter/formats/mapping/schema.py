"""The JSON Schema of the language, made of its keys."""

from __future__ import annotations

from typing import Any

from agent_exporter.formats.mapping.convert import UNITS
from agent_exporter.formats.mapping.keys import FIELDS, FORMAT, FORMS, FROM, MAX_LINES, RULE, TESTS

_SCALAR = {"type": ["string", "number", "boolean", "null"]}
_PATH = {"type": "string", "minLength": 1}
_VALUE = {"$ref": "#/$defs/value"}
_CONDITIONS = {"type": "object", "additionalProperties": {"$ref": "#/$defs/condition"}}
_VARIABLES = {"type": "object", "propertyNames": {"pattern": r"^[^\W\d]\w*$"}, "additionalProperties": _VALUE}
_FIELDS = {
    "type": "object",
    "properties": {name: {"$ref": "#/$defs/value", "description": kind} for name, kind in FIELDS.items()},
    "patternProperties": {r"^(input|output)\.[^.]+$": _VALUE},
    "additionalProperties": False,
}
_OF_FORM: dict[str, Any] = {
    "const": _SCALAR,
    "text": {"type": "string"},
    "sum": {"type": "array", "items": _VALUE, "minItems": 1},
    "minus": {"type": "array", "items": _VALUE, "minItems": 2, "maxItems": 2},
    "jmespath": {"type": "string"},
}
_OF_FROM: dict[str, Any] = {
    "from": _VALUE,
    "json": {"anyOf": [{"const": True}, _PATH]},
    "regex": {"type": "string"},
    "unit": {"enum": list(UNITS)},
    "table": {"type": "object", "additionalProperties": _SCALAR},
    "else": _SCALAR,
}
_OF_RULE: dict[str, Any] = {
    "when": _CONDITIONS,
    "continue": {"type": "boolean"},
    "each": _PATH,
    "where": _CONDITIONS,
    "remember": _VARIABLES,
    "start": _VALUE,
    "keep": _VARIABLES,
    "end": _VALUE,
    "once": _VALUE,
    "delta": _VALUE,
    "mute": {"type": "boolean"},
    "emit": _FIELDS,
}
_OF_FORMAT: dict[str, Any] = {
    "description": {"type": "string"},
    "extends": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    "max_line": {"type": "integer", "minimum": MAX_LINES[0], "maximum": MAX_LINES[1]},
    "timezone": {"type": "string"},
    "detect": {"type": "array", "items": _CONDITIONS},
    "inside": _VALUE,
    "type": _VALUE,
    "switch": _PATH,
    "file": _VARIABLES,
    "defaults": _FIELDS,
    "records": {"type": "array", "items": {"$ref": "#/$defs/rule"}},
}


def schema() -> dict[str, Any]:
    """Of one YAML file (2020-12)."""
    forms = [
        {"type": "object", "properties": _described({name: _OF_FORM[name]}, FORMS), "required": [name], **_CLOSED}
        for name in _OF_FORM
    ]
    tests: dict[str, Any] = {
        "is": {"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR, "minItems": 1}]},
        "like": {"type": "string"},
        "before": _PATH,
    }
    tests["not"] = tests["is"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "agent-exporter log format",
        "type": "object",
        "properties": _described(_OF_FORMAT, FORMAT),
        **_CLOSED,
        "$defs": {
            "rule": {"type": "object", "properties": _described(_OF_RULE, RULE), **_CLOSED},
            "value": {
                "anyOf": [
                    _PATH,
                    {"type": "array", "items": _VALUE, "minItems": 1},
                    *forms,
                    {
                        "type": "object",
                        "properties": _described(_OF_FROM, FROM),
                        "required": ["from"],
                        "minProperties": 2,
                        **_CLOSED,
                    },
                ]
            },
            "condition": {
                "anyOf": [
                    _SCALAR,
                    {"type": "array", "items": _SCALAR, "minItems": 1},
                    {
                        "type": "object",
                        "properties": _described({name: tests[name] for name in TESTS}, TESTS),
                        "minProperties": 1,
                        "maxProperties": 1,
                        **_CLOSED,
                    },
                ]
            },
        },
    }


_CLOSED = {"additionalProperties": False}


def _described(parts: dict[str, Any], said: dict[str, str]) -> dict[str, Any]:
    return {name: {**part, "description": said[name]} for name, part in parts.items()}

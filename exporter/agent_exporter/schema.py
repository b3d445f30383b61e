"""The JSON Schema (2020-12) of the log contract, made from the types that decode it."""

from __future__ import annotations

from typing import Any

import msgspec

from agent_exporter.action import Record

# What the decoder takes for a time; msgspec is a little kinder than RFC 3339 (a space for T, +0530 for +05:30).
_TIME = r"^\d{4}-\d{2}-\d{2}[Tt ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):?[0-5]\d)(?![\s\S])"

DIFFERENCES = (
    "Lengths are counted in characters; the decoder bounds agent_id, session_id and action to 256 bytes of UTF-8.",
    "Nesting deeper than 64 and lines over 1 MiB are rejected by the decoder.",
    "timestamp: the schema sees the form; the decoder also needs a day that exists, from 1970 to 10 minutes from now.",
    "1.0 is an integer to JSON Schema; the decoder requires integers written without fraction or exponent.",
    "This is what to write. The decoder also accepts lines whose optional text, ids, error or metadata do not fit.",
    "It accepts NaN, Infinity and half surrogate pairs, too, but not in a required field, duration_ms or tokens.",
)
"""What JSON Schema cannot say. On everything else a schema validator and the decoder agree, which tests prove."""


def schema() -> dict[str, Any]:
    """The JSON Schema of one line."""
    described = msgspec.json.schema(Record)
    definitions = described["$defs"]
    record = definitions["Record"]
    record["properties"]["timestamp"]["pattern"] = _TIME
    for definition in definitions.values():
        definition.pop("title", None)
        definition["description"] = definition.get("description", "").split("\n\n")[0].replace("\n", " ")
        if not definition["description"] or definition["description"].startswith("Frozen;"):
            del definition["description"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "One action of an AI agent, as one JSON line (version 1)",
        "description": "Unknown fields are allowed. Not said here: " + " ".join(DIFFERENCES),
        **described,
    }

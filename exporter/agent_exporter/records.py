"""Reads an Action from a line, also if the line is not a bare record.

The decoder (`action`) is strict and fast. This module checks lines that it refuses again: a record may follow a
prefix (`formats.prefixed`), or the line may be the JSON of another program. Every command uses `read`, so that all
count the same lines.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from agent_exporter.action import Action, Rejection, decode, parse
from agent_exporter.formats.prefixed import record_in
from agent_exporter.names import MAX_NAMES, meant_by
from agent_exporter.statuses import WORDS

if TYPE_CHECKING:
    from collections.abc import Mapping

EXCERPT = 48
"""Bytes of a line that its rejection quotes: enough to find the line, with little of its private content."""

_NO_RECORD = frozenset({"not_json", "bad_encoding", "too_deep"})
"""Reasons that a prefix or a colour may have caused."""
_AT = re.compile(r"\bbyte (\d+)")


_REQUIRED = frozenset({"agent_id", "session_id", "action"})
_OURS = frozenset({"agentid", "sessionid", "action"})
_FINDING = frozenset({"kind", "at", "evidence"})
_OF_FINDINGS = _FINDING | {"agent_id", "session_id", "trace_id", "parent_trace_id", "root_agent"}
"""What `Finding.to_json` writes; the first three always."""
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Foreign(Rejection):
    """A JSON object of another program's logger: without agent_id, session_id and action. Or a finding of an exporter.

    A timestamp and a status do not make it ours, as every logger has them. A similar name (`agentId`) does, and so do
    other names for two of the three (`agent`, `thread_id`): such a line is rejected, with what to change.
    """


def read(line: bytes, latest: float = float("inf"), words: Mapping[str, str] = WORDS) -> Action | Rejection:
    """The record of a line, or the reason for its rejection. `latest` and `words` as for `decode`. Never raises."""
    action = decode(line, latest, words)
    return action if isinstance(action, Action) else read_again(line, action, latest, words)


def read_again(
    line: bytes, rejection: Rejection, latest: float, words: Mapping[str, str] = WORDS
) -> Action | Rejection:
    """The same for a line that `decode` has rejected."""
    if rejection.reason not in _NO_RECORD:
        return Foreign(*rejection) if _is_foreign(line) else rejection
    within = record_in(line)
    if within is not None:
        found = decode(within, latest, words)
        if isinstance(found, Action):
            return found
        if found.reason not in _NO_RECORD:
            return Foreign(*found) if _is_foreign(within) else found
        if found.reason != "too_deep" and isinstance(parse(within), dict):  # JSON but for a text or a number in it
            return Rejection(found.reason, f"{found.detail}; the record: {excerpt(within, found.detail)}")
    if rejection.reason == "too_deep":
        return Foreign(*rejection) if _is_foreign(line) else rejection
    return Rejection(rejection.reason, f"{rejection.detail}; the line: {excerpt(line, rejection.detail)}")


def excerpt(line: bytes, detail: str) -> str:
    """A few bytes of a line in quotes and in ASCII, around the byte that `detail` names."""
    named = _AT.search(detail)
    begin = max(0, int(named[1]) - EXCERPT // 2) if named else 0
    begin = max(0, min(begin, len(line) - EXCERPT))
    before, after = "..." if begin else "", "..." if begin + EXCERPT < len(line) else ""
    return f"{before}{repr(line[begin : begin + EXCERPT])[1:]}{after}"


def _is_foreign(record: bytes) -> bool:
    try:
        fields = _decode_fields(record)
    except (ValueError, RecursionError):
        return False
    if _FINDING <= fields.keys() <= _OF_FINDINGS:
        return True
    if any(field.lower().replace("_", "").replace("-", "") in _OURS for field in fields):
        return False
    # Another name for one of the three may be another program's; for two of them, it is a record that needs mending.
    texts = (name for name in islice(fields, MAX_NAMES) if bytes(fields[name]).startswith(b'"'))
    return len({meant_by(name) for name in texts} & _REQUIRED) < 2

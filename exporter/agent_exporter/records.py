"""From a line to an Action, for lines that are not a bare record, too.

The decoder (`action`) is strict and fast. What it refuses is looked at once more here: a record may stand behind a
prefix (`formats.prefixed`). Every command that reads lines reads them by `read`, so that all agree on what counts.
"""

from __future__ import annotations

import re

from agent_exporter.action import Action, Rejection, decode
from agent_exporter.formats.prefixed import record_in

EXCERPT = 48
"""Bytes of a line that its rejection quotes: enough to find it by, and no more of what may be private."""

_NO_RECORD = frozenset({"not_json", "bad_encoding", "too_deep"})
"""Reasons that a prefix or a colour may be the cause of."""
_AT = re.compile(r"\bbyte (\d+)")


def read(line: bytes, latest: float = float("inf")) -> Action | Rejection:
    """The record of a line, or why there is none. `latest` as for `decode`. Never raises."""
    action = decode(line, latest)
    return action if isinstance(action, Action) else read_again(line, action, latest)


def read_again(line: bytes, rejection: Rejection, latest: float) -> Action | Rejection:
    """The same for a line that `decode` has rejected."""
    if rejection.reason not in _NO_RECORD:
        return rejection
    within = record_in(line)
    if within is not None:
        found = decode(within, latest)
        if isinstance(found, Action) or found.reason not in _NO_RECORD:
            return found
    if rejection.reason == "too_deep":
        return rejection
    return Rejection(rejection.reason, f"{rejection.detail}; the line: {excerpt(line, rejection.detail)}")


def excerpt(line: bytes, detail: str) -> str:
    """A few bytes of a line in quotes and in ASCII, around the byte that `detail` names."""
    named = _AT.search(detail)
    begin = max(0, int(named[1]) - EXCERPT // 2) if named else 0
    begin = max(0, min(begin, len(line) - EXCERPT))
    before, after = "..." if begin else "", "..." if begin + EXCERPT < len(line) else ""
    return f"{before}{repr(line[begin : begin + EXCERPT])[1:]}{after}"

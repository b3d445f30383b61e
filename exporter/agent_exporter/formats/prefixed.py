r"""A record behind something else on its line: what compose, kubectl, syslog or a logger writes before it, and colours.

    web-1  | {"timestamp": ...}
    [pod/agent-7f9d/agent] {"timestamp": ...}
    Mar 18 09:15:32 host agent[71]: {"timestamp": ...}
    2026-03-18 09:15:32,441 INFO agent: {"timestamp": ...}
    \x1b[32m{"timestamp": ...}\x1b[0m

This is looked for only in lines that are not JSON as they are. What is found must be JSON to the end of the line:
a record that garbage follows stays rejected.

A record must not be smuggled in by text that somebody else wrote into another record. So only the first `{` of a line
may begin one, and no `"` may stand before it: a line that begins within a string, or a record that was cut off, holds
one of the two. RFC 5424's structured data, [id name="value"], is the exception; within a JSON string its quotes, as
those of a record, would be escaped. A logger that writes the text of others unescaped into plain lines does let them
write records, as it lets them write whole lines; docs/log-schema.md says so.
"""

from __future__ import annotations

import re

MAX_PREFIX = 1024
"""Bytes before a record, without colours: a pod's name may have 253, its namespace and container 63 each."""

_COLOUR = re.compile(rb"\x1b(?:\[[0-9;:?]*+[@-~]|[()][0-9A-Za-z])|\x0f")
"""SGR, and what comes with it: "erase the rest of the line", and the character set that `tput sgr0` resets. JSON has no
such byte, not even in a string."""
_STRUCTURED_DATA = re.compile(rb'\[[^\s="\][{]++(?: [^\s="\]{]++="[^"\\\]{]*+")++\]')


def record_in(line: bytes) -> bytes | None:
    """What may be a record within a line that is none as it is; None if nothing may. Linear in the line's length."""
    text = _COLOUR.sub(b"", line) if b"\x1b" in line else line
    begin = text.find(b"{", 0, MAX_PREFIX + 1)
    if begin < 0 or (not begin and text is line):
        return None
    if b'"' in _STRUCTURED_DATA.sub(b"", text[:begin]):
        return None
    return text[begin:].rstrip()

"""What earlier versions wrote into the state file, as this one reads it. Counters, offsets and spans are as they were.

Format 1 kept the steps of sessions and traces, and the samples of averages, in another way. Of a session stays what was
found already, so nothing is told twice; its steps, the traces and the averages begin anew.
"""

from __future__ import annotations

import msgspec

TRAIL = 15
"""Of a row of a session: what the detectors remember of it."""


def upgraded(kind: str, value: bytes) -> bytes | None:
    """A row of format 1 as one of format 2; None if there is no place for it any more."""
    if kind in {"lineage", "window"}:
        return None
    if kind != "session":
        return value
    session = msgspec.msgpack.decode(value)
    _, newest, released, _, _, found, _, trace, _, _, ended, resting, *_ = session[TRAIL]
    due, who, started, end = 16, (session[1], trace), session[3], released if ended else float("inf")
    trail = [[], 0, due, newest, released, [], [], False, found, who, False, resting, started, started, [], end]
    return msgspec.msgpack.encode([*session[:TRAIL], trail, *session[TRAIL + 1 :]])

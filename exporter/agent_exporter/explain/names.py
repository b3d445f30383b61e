"""The ids of a line's task, and the bytes to search for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_exporter.lineage import session_trace_id, trace_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_exporter.action import Action

FEW = 4
"""Names to search for one by one; for more, every record is decoded."""
_PLAIN = re.compile(r"[0-9A-Za-z_.:@-]+")
"""Characters that no writer of JSON escapes."""


def task_of(action: Action) -> str:
    """The id of its trace: 32 hex digits. A session that names no trace has one of its own."""
    return session_trace_id(trace_name(action), action.agent_id, action.session_id)


def needle(name: str) -> bytes:
    """Bytes that every line with this name contains, however it is escaped; empty if there are none."""
    return max(_PLAIN.findall(name), key=len, default="").encode()


def needles(names: Iterable[str]) -> set[bytes]:
    """The needles of some names; none, which matches every line, if there are too many."""
    needles = {needle(name) for name in names}
    return needles if len(needles) <= FEW else set()

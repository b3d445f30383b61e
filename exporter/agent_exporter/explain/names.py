"""What lines are called: the ids of their tasks, and the bytes to look for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_exporter.lineage import session_trace_id, trace_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_exporter.action import Action

FEW = 4
"""Names that are looked for one by one; of more, every record is decoded instead."""
_PLAIN = re.compile(r"[0-9A-Za-z_.:@-]+")
"""What every writer of JSON leaves as it is."""


def task_of(action: Action) -> str:
    """The id of its trace: 32 hex digits. A session that names none is a trace of its own."""
    return session_trace_id(trace_name(action), action.agent_id, action.session_id)


def needle(name: str) -> bytes:
    """What every line has that holds this name, however it is escaped there; empty if nothing is certain."""
    return max(_PLAIN.findall(name), key=len, default="").encode()


def needles(names: Iterable[str]) -> set[bytes]:
    """Those of some names; none, which any line has, if they are too many."""
    needles = {needle(name) for name in names}
    return needles if len(needles) <= FEW else set()

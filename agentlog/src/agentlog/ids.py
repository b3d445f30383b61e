"""W3C ids: random ones, and ids that are made from names.

Random ids come neither from the `random` module, which agents seed to repeat an experiment, nor from the system, which
would take a system call each.
"""

from __future__ import annotations

import os
import random
import re
from hashlib import sha256

_random = random.Random()  # noqa: S311  (nobody is to guess nothing)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)


def trace_id() -> str:
    """32 hex digits."""
    return f"{_random.getrandbits(128) or 1:032x}"


def span_id() -> str:
    """16 hex digits."""
    return f"{_random.getrandbits(64) or 1:016x}"


def trace_id_of(task: str) -> str:
    """The trace id of a task: 32 hex digits are kept, lower-cased; anything else gives the first 32 of its SHA-256."""
    if _HEX32.fullmatch(task):
        return task.lower()
    return sha256(task.encode()).hexdigest()[:32]


def span_id_of(trace_id: str, *session: str) -> str:
    """The id of a session's own span. The exporter makes the same id from agent and session.

    Without names, the id of the trace's root.
    """
    named = "".join(f"{len(name)}:{name}" for name in (trace_id, *session)) if session else trace_id
    digest = sha256(named.encode()).hexdigest()[:16]
    return digest if digest.strip("0") else f"{1:016x}"


_HEX32 = re.compile("(?!0{32})[0-9a-fA-F]{32}")

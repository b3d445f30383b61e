"""What the breaker means to do with one session for one reason, from the finding to the proof.

    met -> observed                           it may not be stopped: observe mode, an old line, a foreign source, ...
    met -> intended -> called -> confirmed    it logged its end, or went quiet
                    |         -> unconfirmed  it still logs after the grace period: a person has to look
                    -> failed                 no call was taken within the grace period
    any of them, before a call -> withdrawn   its budget was raised

An intent is committed as `intended` before the call is made. Every attempt carries the same idempotency key, even after
a restart. `observed` and `failed` are not the end: a further line of the session leads to a new decision. An operator's
extension or a raised ceiling begins a new generation: a new intent with a new key.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Literal

from msgspec import Struct

from agent_exporter.state import row_key

ROW_KIND = "intent"
Status = Literal["met", "observed", "intended", "called", "confirmed", "unconfirmed", "failed", "withdrawn"]


class Intent(Struct, array_like=True, kw_only=True, eq=False):
    """One intent. Times are the exporter's clock, seconds since 1970; 0 means not yet."""

    agent_id: str
    session_id: str
    reason: str
    """The kind of the finding."""
    generation: int
    at: float
    """Time of the line that met the definition."""
    evidence: dict[str, Any]
    trace_id: str = ""
    status: Status = "met"
    why: str = ""
    """Why it is only observed, or why the last call was not taken."""
    origin: str = ""
    """Origin of the lines that decided it."""
    intended: float = 0.0
    attempts: int = 0
    """Calls that were not taken."""
    called: float = 0.0
    """When a call was taken."""
    last: float = 0.0
    """When the newest line that the session wrote after that was read."""
    changed: float = 0.0
    hopeless: bool = False
    """No further attempt can succeed."""

    @property
    def key(self) -> str:
        """Of its row."""
        return row_key(self.agent_id, self.session_id, self.reason, str(self.generation))

    @property
    def idempotency_key(self) -> str:
        """32 hex digits, the same for every attempt."""
        return sha256(self.key.encode()).hexdigest()[:32]


def key_of(intent: Intent) -> str:
    """Of its row."""
    return intent.key

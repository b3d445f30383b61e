"""Asks the exporter what a session has left, so that it stops before the call and not after it.

The exporter knows what a process cannot: what the session has used elsewhere, its ceiling, and whether it was told to
stop. It is asked at most once a second per session and waited for a twentieth of one; without an answer the agent goes
on, and the exporter is left alone for a while.
"""

from __future__ import annotations

import http.client
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from agentlog.errors import BudgetExceeded

if TYPE_CHECKING:
    import os

    from agentlog.clock import Clock
    from agentlog.session import Session

PATIENCE = 0.05
"""Seconds to connect, and again to be answered: the exporter promises its answer within them."""
FRESH = 1.0
"""Seconds for which an answer holds."""
REST = 30.0
"""Seconds without a question after one that was not answered."""
MOST = 64 * 1024
"""Bytes of an answer."""

_logger = logging.getLogger("agentlog")


class Budget:
    """At an exporter's address, `http://127.0.0.1:10777`. ValueError if that is none; nothing else raises."""

    def __init__(self, address: str, token_file: str | os.PathLike[str] | None, clock: Clock) -> None:
        url = urlsplit(address)
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError(f"the exporter's address must be http://HOST:PORT, not {address!r}")
        self._host, self._port, self._tls = url.hostname, url.port, url.scheme == "https"
        self._path = url.path.rstrip("/")
        self._token_file = None if token_file is None else Path(token_file)
        self._clock = clock
        self._resting_until = float("-inf")

    def check(self, session: Session, tokens: int) -> None:
        """Raise BudgetExceeded if the session is to stop, or has no room for so many tokens."""
        now = self._clock.monotonic()
        if session.asked is None or now - session.asked[0] >= FRESH:
            session.asked = now, self._ask(session, now)
        left = session.asked[1]
        if left is None:
            return
        if left["stop"]:
            raise BudgetExceeded(
                f"session {session.id} is to stop: {left['used']} of its {left['max']} tokens are used, "
                "says the exporter"
            )
        if left["enforced"] and tokens > left["left"]:
            raise BudgetExceeded(
                f"session {session.id} has {left['left']} of its {left['max']} tokens left, says the exporter, "
                f"and {tokens} more do not fit"
            )

    def _ask(self, session: Session, now: float) -> dict[str, Any] | None:
        if now < self._resting_until:
            return None
        try:
            answer = self._get(session)
            tokens = answer["tokens"]
            return {
                "stop": bool(answer["stop"]), "enforced": bool(answer["enforced"]),
                "used": int(tokens["used"]), "max": int(tokens["max"]), "left": int(tokens["left"]),
            }  # fmt: skip
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            self._resting_until = now + REST
            _logger.warning("the exporter does not tell budgets, agents go on without: %s", error)
            return None

    def _get(self, session: Session) -> Any:
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=PATIENCE)
        query = {"agent_id": session.log.agent_id, "task_type": session.task_type or "default"}
        headers = {}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {self._token_file.read_text(encoding='utf-8').strip()}"
        try:
            path = f"{self._path}/v1/sessions/{quote(session.id, safe='')}/budget?{urlencode(query)}"
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise ValueError(f"it answers {answer.status} {answer.reason}")
            return json.loads(answer.read(MOST))
        finally:
            connection.close()

"""Asks the exporter what a session has left, so that it stops before the call and not after it.

The exporter knows what a process cannot: what the session has used elsewhere, its ceiling, and whether it was told to
stop. It is asked at most once a second per session and waited for a twentieth of one, whatever it does; without an
answer the agent goes on, and the exporter is left alone for a while.
"""

from __future__ import annotations

import http.client
import io
import json
import logging
import os
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from agentlog.errors import BudgetExceeded

if TYPE_CHECKING:
    from agentlog.clock import Clock
    from agentlog.session import Session

PATIENCE = 0.05
"""Seconds from the question to the whole answer: the exporter promises it within them."""
FRESH = 1.0
"""Seconds for which an answer holds."""
REST = 30.0
"""Seconds without a question after one that was not answered."""
MOST = 64 * 1024
"""Bytes of an answer, its headers included."""

_logger = logging.getLogger("agentlog")


class Budget:
    """At an exporter's address, `http://127.0.0.1:10777`. ValueError if that is none; nothing else raises."""

    def __init__(self, address: str, token_file: str | os.PathLike[str] | None, clock: Clock) -> None:
        try:
            url = urlsplit(address)
            self._host, self._port, self._tls = str(url.hostname or ""), url.port, url.scheme == "https"
        except (ValueError, TypeError, AttributeError):  # a port of letters, half a bracket, no text
            self._host = ""
        if not self._host or url.scheme not in ("http", "https"):
            raise ValueError(f"the exporter's address must be http://HOST:PORT, not {address!r}")
        self._path = url.path.rstrip("/")
        self._token_file = None if token_file is None else Path(token_file)
        self._clock = clock
        self._resting_until = float("-inf")
        self.forked()
        _all.add(self)

    def forked(self) -> None:
        """In a child process: another thread of the parent's may have held the lock, and its worker is not here."""
        self._turn = threading.Lock()
        self._worker: threading.Thread | None = None

    def check(self, session: Session, tokens: int) -> None:
        """Raise BudgetExceeded if the session is to stop, or has no room for so many tokens."""
        if not self._is_fresh(session):
            self._renew(session)
        left = None if session.asked is None else session.asked[1]
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

    def _is_fresh(self, session: Session) -> bool:
        return session.asked is not None and self._clock.monotonic() - session.asked[0] < FRESH

    def _renew(self, session: Session) -> None:
        """One question at a time; who cannot have a turn soon enough asks before the next action."""
        until = time.monotonic() + PATIENCE
        turn = self._turn
        if not turn.acquire(timeout=PATIENCE):
            return
        try:
            if not self._is_fresh(session):  # another thread may have asked for this very session
                now = self._clock.monotonic()
                session.asked = now, self._ask(session, now, until)
        finally:
            turn.release()

    def _ask(self, session: Session, now: float, until: float) -> dict[str, Any] | None:
        if now < self._resting_until:
            return None
        try:
            return self._answer(session, until)
        except Exception as error:  # noqa: BLE001  (whatever is at that address, it is no reason for the agent to fail)
            self._resting_until = now + REST
            _logger.warning(
                "the exporter does not tell budgets, agents go on without: %s", str(error) or type(error).__name__
            )
            return None

    def _answer(self, session: Session, until: float) -> dict[str, Any]:
        """Of a thread of its own, since only waiting for one has an end: a name may take long to be resolved.

        One at most: while one that nobody waits for any more is not through, there is no other.
        """
        if self._worker is not None and self._worker.is_alive():
            raise TimeoutError("the question before is still under way")
        query = {"agent_id": session.log.agent_id, "task_type": session.task_type or "default"}
        path = f"{self._path}/v1/sessions/{quote(session.id, safe='')}/budget?{urlencode(query)}"
        answers: list[dict[str, Any]] = []
        faults: list[Exception] = []

        def work() -> None:
            try:
                answers.append(_understood(self._get(path, until)))
            except Exception as error:  # noqa: BLE001  (the same)
                faults.append(error)

        self._worker = threading.Thread(target=work, name="agentlog budget", daemon=True)
        self._worker.start()
        self._worker.join(max(until - time.monotonic(), 0.0))
        for fault in faults:
            raise fault
        if not answers:
            raise TimeoutError(f"no answer within {PATIENCE * 1000:.0f} ms")
        return answers[0]

    def _get(self, path: str, until: float) -> bytes:
        """The body of a 200. What comes a byte at a time has no more time than what comes at once."""
        kind = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=PATIENCE)
        headers = {"Connection": "close"}
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {self._token_file.read_text(encoding='utf-8').strip()}"
        received = bytearray()
        try:
            connection.request("GET", path, headers=headers)
            while True:
                left = until - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no whole answer within {PATIENCE * 1000:.0f} ms")
                connection.sock.settimeout(left)
                part = connection.sock.recv(MOST)
                if not part:
                    break
                received += part
                if len(received) > MOST:
                    raise ValueError(f"it answers with more than {MOST} bytes")
        finally:
            connection.close()
        answer = http.client.HTTPResponse(_Received(received))  # type: ignore[arg-type]
        answer.begin()
        if answer.status != 200:
            raise ValueError(f"it answers {answer.status} {answer.reason}")
        return answer.read()


class _Received:
    """What http.client needs of a socket: all was read already."""

    def __init__(self, received: bytearray) -> None:
        self._received = received

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._received)


def _understood(body: bytes) -> dict[str, Any]:
    """Of an answer; ValueError, KeyError or whatever else if it is none."""
    answer = json.loads(body)
    tokens = answer["tokens"]
    return {
        "stop": bool(answer["stop"]), "enforced": bool(answer["enforced"]),
        "used": int(tokens["used"]), "max": int(tokens["max"]), "left": int(tokens["left"]),
    }  # fmt: skip


_all: weakref.WeakSet[Budget] = weakref.WeakSet()


def _forked() -> None:
    for budget in list(_all):
        budget.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

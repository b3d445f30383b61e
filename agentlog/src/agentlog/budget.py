"""Asks the exporter what a session has left, so that a session stops before a call and not after it.

The exporter knows what a process cannot: what the session has used elsewhere, its ceiling, and whether it should stop.
A session asks at most once a second and waits at most a twentieth of a second. Without an answer the agent continues,
and does not ask again for a while.

The exporter does not know the lines that it has not read yet. So a session adds two sums: what it has used itself, to
the last token, and what the exporter has counted beyond the session's own lines.
"""

from __future__ import annotations

import http.client
import io
import json
import logging
import math
import os
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

if TYPE_CHECKING:
    from agentlog.clock import Clock
    from agentlog.session import Session

PATIENCE = 0.05
"""Seconds from the question to the whole answer: the exporter answers within this time."""
FRESH = 1.0
"""Seconds for which an answer is valid."""
REST = 30.0
"""Seconds without a question after one without an answer. For at most as long the answer before it stays valid."""
SETTLED = 30.0
"""Seconds after a session's last line by which the exporter must have read it. What it has not counted by then, it
never will, as after its own idle time."""
DUST = 1e-9
"""Dollars by which sums may differ because of the order of adding."""
MAX_ANSWER = 64 * 1024
"""Bytes of an answer, including its headers."""

_logger = logging.getLogger("agentlog")


class Answer(NamedTuple):
    """An answer of the exporter. Dollars are None without a ceiling."""

    stop: bool
    enforced: bool
    tokens: tuple[float, float]
    """(used, ceiling)."""
    dollars: tuple[float, float] | None


class Sum:
    """Tokens or dollars of one session."""

    def __init__(self) -> None:
        self.most = math.inf
        self._spent: float = 0
        self._logged: float = 0
        """The part of `spent` that lines have logged."""
        self._elsewhere: float = 0
        """Used, but not in lines of this session object: by other processes, or at the exporter's prices."""

    def spend(self, amount: float) -> None:
        self._spent += amount

    def logged(self, amount: float) -> None:
        """Call it before the line is written, as the exporter must not count it first."""
        self._logged += amount

    def answered(self, used: float, most: float, *, settled: bool) -> None:
        """The exporter's sum is what others logged, plus an unknown part of what this session has logged."""
        if settled and used < self._logged:
            self._spent -= self._logged - used
            self._logged = used
        self._elsewhere = max(0, used - self._logged)
        self.most = most

    @property
    def used(self) -> float:
        """The most that may have been used."""
        return self._spent + self._elsewhere


class Account:
    """What a session knows about its budget at the exporter. Hold the session's lock when calling."""

    def __init__(self) -> None:
        self.asked: float | None = None
        """When the exporter was last asked, by the monotonic clock, answered or not."""
        self._answered: float | None = None
        self._logged = -math.inf
        self._tokens = Sum()
        self._dollars = Sum()
        self._stop = self._enforced = False

    def spend(self, tokens: int, dollars: float) -> None:
        """Add what its actions have used."""
        self._tokens.spend(tokens)
        self._dollars.spend(dollars)

    def logged(self, tokens: int, dollars: float, now: float) -> None:
        """Note that a line will log it."""
        self._logged = now
        self._tokens.logged(tokens)
        self._dollars.logged(dollars)

    def note(self, answer: Answer | None, now: float) -> None:
        """Take an answer. With None, the last one stays valid for a while, less what is used since."""
        self.asked = now
        if answer is None:
            if self._answered is not None and now - self._answered >= REST:
                self._stop = self._enforced = False
            return
        settled = now - self._logged >= SETTLED
        self._answered = now
        self._stop, self._enforced = answer.stop, answer.enforced
        self._tokens.answered(*answer.tokens, settled=settled)
        self._dollars.answered(*answer.dollars or (0.0, math.inf), settled=settled and answer.dollars is not None)

    def refusal(self, held: int, tokens: int) -> str | None:
        """Why the session may not begin an action of so many tokens; None if it may."""
        if not self._enforced:
            return "was stopped by the exporter" if self._stop else None
        used, most = self._tokens.used, self._tokens.most
        if used > most:
            return f"is to stop: {used} of the {most} tokens that the exporter allows are used"
        dollars, ceiling = self._dollars.used, self._dollars.most
        if dollars > ceiling + DUST:
            return f"is to stop: ${dollars:.6g} of the ${ceiling:.6g} that the exporter allows are used"
        if self._stop:
            return "was stopped by the exporter"
        if used + held + tokens > most:
            return (
                f"may use {most} tokens, says the exporter: {used} are used, {held} held by open actions, "
                f"and {tokens} more do not fit"
            )
        return None


class Budget:
    """Asks the exporter at an address like `http://127.0.0.1:10777`. Raises ValueError for any other text."""

    def __init__(self, address: str, token_file: str | os.PathLike[str] | None, clock: Clock) -> None:
        try:
            url = urlsplit(address)
            self._host, self._port, self._tls = str(url.hostname or ""), url.port, url.scheme == "https"
        except (ValueError, TypeError, AttributeError):  # a port of letters, half a bracket, not a text
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
        """In a child process: a thread of the parent may have held the lock, and there is no worker thread."""
        self._turn = threading.Lock()
        self._worker: threading.Thread | None = None

    def renew(self, session: Session, account: Account) -> None:
        """Ask, unless the last answer is fresh. One question at a time; a session without a turn asks later."""
        if self._is_fresh(account):
            return
        until = time.monotonic() + PATIENCE
        turn = self._turn
        if not turn.acquire(timeout=PATIENCE):
            return
        try:
            if not self._is_fresh(account):  # another thread may have asked for the same session
                now = self._clock.monotonic()
                session.answered(self._ask(session, now, until), now)
        finally:
            turn.release()

    def _is_fresh(self, account: Account) -> bool:
        return account.asked is not None and self._clock.monotonic() - account.asked < FRESH

    def _ask(self, session: Session, now: float, until: float) -> Answer | None:
        if now < self._resting_until:
            return None
        try:
            return self._answer(session, until)
        except Exception as error:  # noqa: BLE001  (whatever is at that address, the agent must not fail for it)
            self._resting_until = now + REST
            _logger.warning(
                "the exporter does not tell budgets, agents go on without: %s", str(error) or type(error).__name__
            )
            return None

    def _answer(self, session: Session, until: float) -> Answer:
        """Ask in a thread of its own: a name may take long to resolve, and only waiting for a thread can time out.

        There is at most one such thread: while an abandoned one still runs, no other starts.
        """
        if self._worker is not None and self._worker.is_alive():
            raise TimeoutError("the question before is still under way")
        query = {"agent_id": session.log.agent_id, "task_type": session.task_type or "default"}
        path = f"{self._path}/v1/sessions/{quote(session.id, safe='')}/budget?{urlencode(query)}"
        answers: list[Answer] = []
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
        """The body of a 200. The time limit is for the whole answer, even if it comes byte by byte."""
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
                part = connection.sock.recv(MAX_ANSWER)
                if not part:
                    break
                received += part
                if len(received) > MAX_ANSWER:
                    raise ValueError(f"it answers with more than {MAX_ANSWER} bytes")
        finally:
            connection.close()
        answer = http.client.HTTPResponse(_Received(received))  # type: ignore[arg-type]
        answer.begin()
        if answer.status != 200:
            raise ValueError(f"it answers {answer.status} {answer.reason}")
        return answer.read()


class _Received:
    """The part of a socket that http.client needs; all bytes are read already."""

    def __init__(self, received: bytearray) -> None:
        self._received = received

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._received)


def _understood(body: bytes) -> Answer:
    """Parse an answer. Raises ValueError, KeyError or others if it is incomplete: that must not stop an agent."""
    answer = json.loads(body)
    stop, enforced, tokens, dollars = answer["stop"], answer["enforced"], answer["tokens"], answer.get("cost_usd")
    if not isinstance(stop, bool) or not isinstance(enforced, bool):
        raise ValueError("it does not say whether to stop")  # noqa: TRY004  (of an answer, not of an argument)
    return Answer(stop, enforced, _sums(tokens), None if dollars is None else _sums(dollars))


def _sums(sums: dict[str, float]) -> tuple[float, float]:
    used, most = sums["used"], sums["max"]
    if not (math.isfinite(used) and math.isfinite(most)):
        raise ValueError("it has no numbers")
    return used, most


_all: weakref.WeakSet[Budget] = weakref.WeakSet()


def _forked() -> None:
    for budget in list(_all):
        budget.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

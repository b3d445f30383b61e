"""Asks the exporter what a session has left, so that it stops before the call and not after it.

The exporter knows what a process cannot: what the session has used elsewhere, its ceiling, and whether it was told to
stop. It is asked at most once a second per session and waited for a twentieth of one, whatever it does; without an
answer the agent goes on, and the exporter is left alone for a while.

What it does not know is what it has not read yet. So a session reckons by both: what it has used itself, to the last
token, and beside it whatever the exporter tells that no line of its own did.
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
"""Seconds from the question to the whole answer: the exporter promises it within them."""
FRESH = 1.0
"""Seconds for which an answer holds."""
REST = 30.0
"""Seconds without a question after one that was not answered, and for which the answer before it holds the longest."""
SETTLED = 30.0
"""Seconds after its last line by which the exporter must have read a session's lines: what it does not count then, it
does not count any more, as after its own idle time."""
DUST = 1e-9
"""Dollars by which sums may differ for the order in which they were added."""
MAX_ANSWER = 64 * 1024
"""Bytes of an answer, its headers included."""

_logger = logging.getLogger("agentlog")


class Answer(NamedTuple):
    """What the exporter says. Dollars are None without a ceiling."""

    stop: bool
    enforced: bool
    tokens: tuple[float, float]
    """Used, and at most."""
    dollars: tuple[float, float] | None


class Sum:
    """Tokens or dollars of one session."""

    def __init__(self) -> None:
        self.most = math.inf
        self._spent: float = 0
        self._logged: float = 0
        """Of what is spent: told by lines."""
        self._elsewhere: float = 0
        """Used, but told by no line of this session object's: by other processes, or at the exporter's prices."""

    def spend(self, amount: float) -> None:
        self._spent += amount

    def logged(self, amount: float) -> None:
        """Before the line is written: the exporter must not know of it first."""
        self._logged += amount

    def answered(self, used: float, most: float, *, settled: bool) -> None:
        """What the exporter has read is what others told, and of what this one has logged nobody knows how much."""
        if settled and used < self._logged:
            self._spent -= self._logged - used
            self._logged = used
        self._elsewhere = max(0, used - self._logged)
        self.most = most

    @property
    def used(self) -> float:
        """The most that is known to be used."""
        return self._spent + self._elsewhere


class Account:
    """What a session knows of its budget at the exporter. Called with the session's lock held."""

    def __init__(self) -> None:
        self.asked: float | None = None
        """When, by the monotonic clock, with or without an answer."""
        self._answered: float | None = None
        self._logged = -math.inf
        self._tokens = Sum()
        self._dollars = Sum()
        self._stop = self._enforced = False

    def spend(self, tokens: int, dollars: float) -> None:
        """Its actions have used so much."""
        self._tokens.spend(tokens)
        self._dollars.spend(dollars)

    def logged(self, tokens: int, dollars: float, now: float) -> None:
        """And a line will say so."""
        self._logged = now
        self._tokens.logged(tokens)
        self._dollars.logged(dollars)

    def note(self, answer: Answer | None, now: float) -> None:
        """The exporter was asked. Without an answer the last one stands for a while, less what is used since."""
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
        """Why the session may not begin an action of so many tokens, if it may not."""
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

    def renew(self, session: Session, account: Account) -> None:
        """Ask, unless the last answer is fresh. One question at a time; who has no turn soon asks later."""
        if self._is_fresh(account):
            return
        until = time.monotonic() + PATIENCE
        turn = self._turn
        if not turn.acquire(timeout=PATIENCE):
            return
        try:
            if not self._is_fresh(account):  # another thread may have asked for this very session
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
        """Of a thread of its own, since only waiting for one has an end: a name may take long to be resolved.

        One at most: while one that nobody waits for any more is not through, there is no other.
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
    """What http.client needs of a socket: all was read already."""

    def __init__(self, received: bytearray) -> None:
        self._received = received

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self._received)


def _understood(body: bytes) -> Answer:
    """ValueError, KeyError or whatever else if it is no answer: nobody is stopped for half of one."""
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

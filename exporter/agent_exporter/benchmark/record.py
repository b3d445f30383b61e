"""A suite from a log of good sessions: the first input of each, and its last output. That fits agents with one task per
session. A session is good if all its actions succeeded without a retry or a fallback, and no line says that it was not
completed or disliked. A text answer becomes a minimum of similarity, a JSON answer keys and values. That is a draft: a
person has to read it, and make it strict where needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import yaml

from agent_exporter.action import HEARTBEAT, Action
from agent_exporter.detectors.fingerprint import outcome_of
from agent_exporter.records import read
from agent_exporter.sources.once import numbered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_CASES = 50
"""Cases: at a few seconds each, a run takes minutes."""
MAX_TEXT = 4_000
"""Characters of an input or an answer; longer ones make poor cases."""
MAX_SESSIONS = 100_000
ASKED = ("prompt", "question", "query", "message", "content", "task", "text", "input")
"""Keys that may hold the text of an input."""
ANSWERED = ("response", "answer", "content", "text", "message", "summary", "result", "output")
HEAD = """\
# Recorded from the good sessions of {agent}. Read it through: what an answer must hold is yours to say; a text is
# compared by similarity until you do (docs/benchmark.md).
"""


class NothingGood(Exception):  # noqa: N818  (reads as what it says)
    """There is no suite: a sentence why."""


class _Session:
    """A session, as read so far."""

    def __init__(self) -> None:
        self.good = True
        self.asked: Any = None
        self.answered: Any = None
        self.first = float("inf")
        self.last = 0.0

    def add(self, action: Action, given: Any, came: Any) -> None:
        metadata = action.metadata
        if action.status != "success" or (
            metadata is not None
            and (
                metadata.retry_count
                or metadata.fallback_used
                or metadata.task_completed is False
                or (metadata.feedback or 0) < 0
            )
        ):
            self.good = False
        if given is not None and action.at < self.first:
            self.first, self.asked = action.at, given
        if came is not None and action.at >= self.last:
            self.last, self.answered = action.at, came


class _Content(msgspec.Struct):
    input: Any = None
    output: Any = None


class Recorded(NamedTuple):
    """A suite as YAML, and how many sessions it is from."""

    text: str
    cases: int
    sessions: int
    """Good sessions."""
    seen: int


def record(paths: Iterable[str], agent: str | None) -> Recorded:
    """The suite of one agent's good sessions. Raises OSError, NothingGood."""
    sessions: dict[tuple[str, str], _Session] = {}
    content = msgspec.json.Decoder(_Content).decode
    for line in _lines(paths):
        action = read(line)
        if not isinstance(action, Action) or action.action == HEARTBEAT or (agent and action.agent_id != agent):
            continue
        key = action.agent_id, action.session_id
        if key in sessions or len(sessions) < MAX_SESSIONS:
            try:
                contents = content(action.line)
            except ValueError:  # it has a number beyond 64 bits
                continue
            sessions.setdefault(key, _Session()).add(action, contents.input, contents.output)
    agents = sorted({name for name, _ in sessions})
    if len(agents) > 1:
        raise NothingGood(f"sessions of {len(agents)} agents: name one with --agent: {', '.join(agents[:10])}")
    good = [session for session in sessions.values() if session.good]
    cases: dict[bytes, dict[str, Any]] = {}
    for session in good:
        case = _case(session)
        if case is not None:
            cases.setdefault(msgspec.json.encode(case["input"]), case)
    if not cases:
        raise NothingGood(f"none of {len(sessions):,} sessions is good and has both an input and an output")
    chosen = [*cases.values()][:MAX_CASES]
    body = yaml.safe_dump({"cases": chosen}, sort_keys=False, allow_unicode=True, width=120)
    return Recorded(HEAD.format(agent=ascii(agents[0])) + body, len(chosen), len(good), len(sessions))


def _lines(paths: Iterable[str]) -> Iterator[bytes]:
    for path in paths:
        for _, line in numbered(path):
            if line is not None:
                yield line


def _case(session: _Session) -> dict[str, Any] | None:
    asked, answered = _text(session.asked, ASKED), _text(outcome_of(session.answered), ANSWERED)
    if not asked or answered in (None, "", {}, []):
        return None
    if max(len(msgspec.json.encode(asked)), len(msgspec.json.encode(answered))) > MAX_TEXT:
        return None
    return {"input": asked, "expect": {"similar" if isinstance(answered, str) else "json": answered}}


def _text(value: Any, keys: tuple[str, ...]) -> Any:
    """The text of a mapping under one of these keys, or else the value itself."""
    if isinstance(value, dict):
        return next((value[key] for key in keys if isinstance(value.get(key), str)), value)
    return value

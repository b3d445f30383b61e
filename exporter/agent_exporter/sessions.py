"""Action -> the Session that it belongs to: what it has cost so far, when it began, and how it ended.

A session is one agent's (two agents may use the same session_id). It ends with the line that says `session_end`, or
when its agent has not worked on it for the idle time of its task type: from its last sign of work (the end of an
action, or a `working` heartbeat) to the begin of the next action. A call that takes longer than the idle time is work.

The line of a call comes when the call ends, so the clock alone cannot tell a long call from an abandoned session. A
quiet session is closed as abandoned when the idle time and the agent's `max_action_duration` have passed. It
is remembered for MAX_CALL more: the line of a call that took even longer goes on with it, and its end is not counted
twice. Lines may come a little late, so an ended session is closed only after the reorder window, and is remembered for
its idle time.

A session that says `session_paused` waits for a person, for up to MAX_PAUSE: it is neither idle nor over, and the next
action that begins goes on with it. A call that was open when it paused may end meanwhile.

Quiet is measured against the session's own time and against the clock at which its lines were read, whichever is
later: yesterday's log, read now, holds no abandoned sessions just because it is old.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from agent_exporter.action import FAILED
from agent_exporter.detectors.steps import Trail, begins_after
from agent_exporter.stage import Stage
from agent_exporter.state import row_key
from agent_exporter.sweep import next_threshold, oldest_eighth, sweep_target, sweep_threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent_exporter.action import Action
    from agent_exporter.config import TaskType
    from agent_exporter.state import Row, Store

Outcome = Literal["completed", "failed", "ended", "abandoned", "terminated"]
OUTCOMES: tuple[Outcome, ...] = ("completed", "failed", "ended", "abandoned", "terminated")
"""completed and failed: task_completed said so; ended: session_end alone; abandoned: no work for its idle time;
terminated: told to stop by the breaker."""

ROW_KIND = "session"
MAX_SESSIONS = 65_536
"""Sessions held at once, about 2.6 KB each. At 1 million sessions a day, 3,500 begin in an idle time of 5 min."""
MAX_CALL = 3600.0
"""Seconds after which no line of a running call is expected any more; beyond `max_action_duration` it is stuck."""
MAX_PAUSE = 7 * 86_400.0
"""Seconds that a session may wait for a person; as long as an agent's series stay (`metrics.agent_ttl`)."""


class Session(Struct, eq=False, gc=False, array_like=True):
    """One session of one agent. Times are seconds since 1970; `last` is its watermark."""

    agent_id: str
    session_id: str
    task_type: str
    started: float
    last: float
    arrived: float
    """The clock when its newest line was read; in a past log the newest time read by then, or where files are
    read one after the other a number below 0 that grows, as no clock runs."""
    actions: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    failures: int = 0
    task_completed: bool | None = None
    ended: bool = False
    closed: bool = False
    counted: bool = False
    """Its end is in the metrics."""
    beaten: float = 0.0
    """Time of the latest heartbeat that named it, or was taken for its sign of life."""
    trail: Trail = msgspec.field(default_factory=Trail)
    """What the detectors know about it."""
    stored: bool = False
    """It has a row in the state."""
    granted_tokens: int = 0
    """Extra budget that an operator has granted."""
    granted_cost_usd: float = 0.0
    attested_tokens: int = 0
    """Tokens in lines from trusted sources; counted only for agents that the breaker watches."""
    attested_cost_usd: float = 0.0
    foreign: bool = False
    """It has lines from sources that are not trusted."""
    terminated: bool = False
    """The breaker has told it to stop."""
    attested_type: str = ""
    """Its task type in those lines."""
    attested_end: float = 0.0
    """Time of the session_end in those lines; 0 without one, or if it has worked since."""
    worked: float = 0.0
    """Time of the latest `working` heartbeat that named it, or was taken for its sign of life."""
    paused: bool = False
    """It waits for a person: no action has begun since it said so."""
    waited: float = 0.0
    """Seconds that it has waited for a person so far."""
    paused_at: float = 0.0
    """Since when it waits, if it does."""
    begun: float = 0.0
    """The latest begin of one of its actions."""

    @property
    def last_work(self) -> float:
        """The latest sign of work."""
        return self.last if self.last > self.worked else self.worked

    @property
    def duration(self) -> float:
        """Seconds from its begin to its latest action, without those that it waited for a person."""
        return max(0.0, self.last - self.started - self.waited)

    def attest(self, action: Action, reorder: float) -> None:
        """Take in a line whose source may have it stopped; what others say must neither stop it nor save it."""
        tokens, metadata = action.tokens, action.metadata
        if tokens is not None:
            self.attested_tokens += tokens.total
            self.attested_cost_usd += tokens.cost_usd or 0.0
        if metadata is not None and metadata.task_type is not None and self.attested_type in {"", "default"}:
            self.attested_type = metadata.task_type
        self.attested_type = self.attested_type or "default"
        if metadata is not None and metadata.session_end:
            self.attested_end = max(self.attested_end, action.at)
        elif (tokens is not None or action.duration_ms is not None) and action.at - self.attested_end > reorder:
            self.attested_end = 0.0  # it works on, whatever it said; feedback takes neither tokens nor time

    @property
    def outcome(self) -> Outcome:
        """The outcome so far. A session that completed after the breaker stopped it counts as completed."""
        if self.terminated and not self.task_completed:
            return "terminated"
        if self.task_completed is not None:
            return "completed" if self.task_completed else "failed"
        return "ended" if self.ended else "abandoned"

    def ceilings(self, task: TaskType) -> tuple[int, float | None]:
        """(tokens, US dollars or None) that it may use."""
        cost = task.session_cost_usd
        return task.session_tokens + self.granted_tokens, None if cost is None else cost + self.granted_cost_usd


class Sessions(Stage):
    """The table of sessions: bounded by MAX_SESSIONS, the least recently read go first and are counted in `evictions`.

    `idle` gives the idle time of a task type in seconds, never less than `shortest_idle`, and `longest_call` the
    seconds that a call of an agent may take; `opened` and `closed` are called at every begin and end.
    """

    def __init__(
        self,
        idle: Callable[[str], float],
        opened: Callable[[Session], None],
        closed: Callable[[Session], None],
        reorder: float = 3.0,
        most: int = MAX_SESSIONS,
        shortest_idle: float = 0.0,
        longest_call: Callable[[str], float] = lambda _: 0.0,
    ) -> None:
        self.idle = idle
        self.may_speak: Callable[[Action], bool] = lambda _: True
        """Whether the line at hand may end its session, have it wait for a person, or begin the next while it is open:
        whoever may not would set a runaway's sums to zero."""
        self._longest_call = longest_call
        self.shortest_idle = shortest_idle
        self.reorder = reorder
        self.evictions = 0
        self._late = self._written_twice = 0
        self._most = most
        self._look_at = sweep_threshold(most)
        self._opened = opened
        self._closed = closed
        self._table: dict[tuple[str, str], Session] = {}
        self._ending: dict[tuple[str, str], Session] = {}
        self._latest: dict[str, Session] = {}
        self._dirty: set[Session] = set()
        self._gone: list[str] = []

    def __len__(self) -> int:
        return len(self._table)

    def add(self, action: Action, now: float) -> Session | None:
        """The session of an action other than a heartbeat, with the action added. `now` becomes its `arrived`.

        None for a record that was written twice (`Trail.has`): the metrics count every line, but the second copy must
        bring no session over its budget and into no loop.
        """
        key = (action.agent_id, action.session_id)
        session = self._table.get(key)
        at = action.at
        began = at if action.duration_ms is None else at - action.duration_ms / 1000  # inline: Action.began
        if session is None or (
            began - session.last > self.shortest_idle
            and self._begins_anew(session, began)
            and (session.closed or self.may_speak(action))
        ):
            if session is not None:
                self._close(key, session)
                self._forget(key, session)
            session = self._open(key, action, began, now)
        elif at <= session.last and session.trail.has(action):
            self._written_twice += 1
            self._dirty.add(session)  # its trail has counted the copy
            return None
        elif session.closed:
            session.closed = False
            self._opened(session)
            if session.ended:
                self._ending[key] = session
        if session.paused and begins_after(session.paused_at, began, at):
            session.paused = False
            session.waited += max(0.0, began - session.last)
        if at > session.last:
            session.last = at
        elif session.last - at > self.reorder:
            self._late += 1
        if began < session.started:
            session.started = began
        if began > session.begun:
            session.begun = began
        session.arrived = now
        session.actions += 1
        tokens = action.tokens
        if tokens is not None:
            session.tokens += (tokens.prompt or 0) + (tokens.completion or 0)  # inline: Tokens.total
            if tokens.cost_usd is not None:
                session.cost_usd += tokens.cost_usd
        if action.status in FAILED:
            session.failures += 1
        metadata = action.metadata
        if metadata is not None:
            if metadata.task_type is not None and session.task_type == "default":
                session.task_type = metadata.task_type
            if metadata.task_completed is not None:
                session.task_completed = metadata.task_completed
            if metadata.session_end:
                if self.may_speak(action):
                    session.ended = True
                    self._ending[key] = session
            elif metadata.session_paused and at >= session.begun and self.may_speak(action):
                session.paused = True
                session.paused_at = max(session.paused_at, at)
        self._dirty.add(session)
        return session

    def heartbeat(self, action: Action) -> Session | None:
        """The session that a heartbeat is a sign of life of: the one that it names, or else the one begun last.

        None opens a session. A `working` one keeps it open, any other only keeps it from being forgotten.
        """
        session = self._table.get((action.agent_id, action.session_id)) or self._latest.get(action.agent_id)
        if session is not None and action.at > session.beaten:
            session.beaten = action.at
            if action.state == "working" and not session.ended and not self._begins_anew(session, action.at):
                session.worked = action.at
            self._dirty.add(session)
        return session

    def get(self, agent_id: str, session_id: str) -> Session | None:
        """A session by its agent and id, or None."""
        return self._table.get((agent_id, session_id))

    def everyone(self) -> Iterable[Session]:
        """All sessions in the table."""
        return self._table.values()

    def touch(self, session: Session) -> None:
        """Note that what the detectors know about it has changed."""
        self._dirty.add(session)

    def take_late(self) -> int:
        """How many actions since the last call were older than their session's newest by more than `reorder`."""
        late, self._late = self._late, 0
        return late

    def take_written_twice(self) -> int:
        """How many records since the last call were written twice."""
        written_twice, self._written_twice = self._written_twice, 0
        return written_twice

    def tick(self, now: float) -> None:
        """Close what has ended or gone quiet; forget what was closed long ago."""
        self._close_ended(now)
        for key, session in list(self._table.items()):
            idle = self._idle(session)
            quiet = now - max(session.last, session.arrived, session.worked)
            if quiet <= idle:
                continue
            if not session.closed:
                if quiet > self._patience(session, idle):
                    self._close(key, session)
            elif now - session.beaten > idle and (session.ended or quiet > idle + MAX_CALL):
                self._forget(key, session)

    def thin(self, newest: float) -> None:
        """Close sessions whose end was read. If there are too many, forget those that are over, the least recent first.

        A file that is read later may go on with one, but only a clock could say that none will.
        """
        self._close_ended(newest)
        if len(self._table) > sweep_threshold(self._most):
            self._forget_over(lambda session: session.closed or newest - session.last_work > self._patience(session))

    def finish(self, newest: float) -> None:
        """Close sessions whose end was read, and those that had gone quiet by then."""
        self._close_ended(float("inf"))
        self.tick(newest)

    def _close_ended(self, now: float) -> None:
        """Close sessions whose end was read longer ago than the reorder window."""
        for key, session in list(self._ending.items()):
            heard = session.last if session.arrived <= 0 else session.arrived  # a past log has no clock
            if now - heard >= self.reorder:
                self._close(key, session)

    def open(self) -> Iterator[Session]:
        """Sessions that are not closed."""
        return (session for session in self._table.values() if not session.closed)

    def of(self, agent_id: str) -> list[Session]:
        """Copies of an agent's open sessions."""
        return [copy(session) for session in self.open() if session.agent_id == agent_id]

    def evicted(self) -> Iterable[tuple[str, int]]:
        """Sessions of committed rows that were open."""
        yield "sessions", self.evictions

    def changes(self) -> Iterator[Row]:
        """Rows of the sessions that changed."""
        for key in self._gone:
            yield ROW_KIND, key, None
        for session in self._dirty:
            session.stored = True
            yield ROW_KIND, key_of(session), msgspec.msgpack.encode(session)
        self._gone.clear()
        self._dirty.clear()

    def restore(self, store: Store, now: float) -> None:  # noqa: ARG002
        """Restore from committed rows. The metrics have their own count of open sessions."""
        decode = msgspec.msgpack.Decoder(Session).decode
        for _, value in store.rows(ROW_KIND):
            session = decode(value)
            key = (session.agent_id, session.session_id)
            self._table[key] = session
            latest = self._latest.get(session.agent_id)
            if latest is None or latest.started <= session.started:
                self._latest[session.agent_id] = session
            if session.ended and not session.closed:
                self._ending[key] = session

    def _begins_anew(self, session: Session, began: float) -> bool:
        """Whether work that began then belongs to a new session of the same id."""
        gap = began - session.last_work
        return gap > (MAX_PAUSE if session.paused else self._idle(session))

    def _idle(self, session: Session) -> float:
        """Its idle time in seconds. Lines from untrusted sources do not shorten it."""
        return self.idle(session.attested_type or session.task_type)

    def _patience(self, session: Session, idle: float | None = None) -> float:
        """Seconds of quiet after which a session is taken for abandoned."""
        if session.paused:
            return MAX_PAUSE
        return (self._idle(session) if idle is None else idle) + self._longest_call(session.agent_id)

    def _open(self, key: tuple[str, str], action: Action, began: float, now: float) -> Session:
        if len(self._table) >= self._look_at:
            self._make_room(now)
        task_type = (action.metadata and action.metadata.task_type) or "default"
        session = Session(action.agent_id, action.session_id, task_type, began, action.at, 0.0)
        self._table[key] = self._latest[action.agent_id] = session
        self._opened(session)
        return session

    def _close(self, key: tuple[str, str], session: Session) -> None:
        self._ending.pop(key, None)
        if not session.closed:
            session.closed = True
            self._closed(session)
            session.counted = True
            self._dirty.add(session)

    def _forget(self, key: tuple[str, str], session: Session) -> None:
        del self._table[key]
        if self._latest.get(session.agent_id) is session:
            del self._latest[session.agent_id]
        self._dirty.discard(session)
        if session.stored:  # a past log is committed at its end alone: its sessions must not pile up here
            self._gone.append(key_of(session))

    def _make_room(self, now: float) -> None:
        """Nothing is lost with those that are over: were they to go on, they would begin anew."""
        self._forget_over(lambda session: self._is_over(session, now))
        if len(self._table) >= self._most:
            self._evict()
        self._look_at = next_threshold(len(self._table), self._most)

    def _is_over(self, session: Session, now: float) -> bool:
        """Whether its agent's newest line is later by its idle time, and the clock too: that cannot be made up.

        In a past log no clock runs: there `thin` does the same, by the newest line of all.
        """
        latest = self._latest.get(session.agent_id)
        return latest is not None and min(latest.last, now) - session.last_work > self._patience(session)

    def _forget_over(self, is_over: Callable[[Session], bool]) -> None:
        """Sessions, the least recently read first."""
        over = [(key, session) for key, session in self._table.items() if is_over(session)]
        over.sort(key=lambda item: item[1].arrived)
        for key, session in over[: max(0, len(self._table) - sweep_target(self._most))]:
            self._close(key, session)
            self._forget(key, session)

    def _evict(self) -> None:
        """Forget sessions until there is room for a new one."""
        # A flood of made-up sessions does not have one forgotten that may be stopped: its sums would begin at zero.
        oldest = oldest_eighth(
            self._table.items(),
            self._most,
            key=lambda item: (
                item[1].attested_tokens > 0 and not item[1].attested_end,
                not item[1].closed,
                item[1].arrived,
            ),
        )
        for key, session in oldest:
            if not session.ended and not session.closed:
                self.evictions += 1
            self._close(key, session)
            self._forget(key, session)


def key_of(session: Session) -> str:
    """The key of its row."""
    return row_key(session.agent_id, session.session_id)

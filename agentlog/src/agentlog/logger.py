"""An agent's log. An agent makes one, and gets its sessions from it.

log = AgentLogger("research-agent-01", team="research")
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from agentlog import handoff, record, settings
from agentlog.budget import Budget
from agentlog.calls import Calls
from agentlog.clock import Clock, written
from agentlog.heartbeat import HEARTBEAT, Heartbeats
from agentlog.session import Session, current_session
from agentlog.writer import written_to

if TYPE_CHECKING:
    from typing import Literal


class AgentLogger:
    """Writes the lines of one agent to a stream, standard output by default, or to the end of a file.

    `content=False` leaves out what may be private: inputs, outputs and the messages of errors. Then equal and different
    calls look the same, so loops are found only by their retries. `max_content` is how many characters of an input or
    output a line may hold. Raises OSError if the file cannot be opened, TypeError or ValueError for a wrong setting.
    After that, only the guards raise.

    `exporter`, http://HOST:PORT: before each action, at most once a second, the session asks it for the rest of its
    budget, and raises BudgetExceeded if that is too little. Without an answer within 50 ms the agent continues.
    `exporter_token_file` holds the exporter's token.
    """

    def __init__(
        self,
        agent_id: str,
        *,
        team: str | None = None,
        stream: TextIO | None = None,
        path: str | os.PathLike[str] | None = None,
        content: bool = True,
        max_content: int = record.DEFAULT_CONTENT,
        exporter: str | None = None,
        exporter_token_file: str | os.PathLike[str] | None = None,
        clock: Clock = Clock(),  # noqa: B008  (frozen)
    ) -> None:
        self.agent_id = record.name(agent_id)
        self.team = None if team is None else record.name(team)
        self.content = settings.flag(content, "content")
        self.max_content = int(settings.number(max_content, "max_content", 0, 2**63))
        self.clock = clock
        self.budget = None if exporter is None else Budget(exporter, exporter_token_file, clock)
        self._place = Path(path).absolute() if path is not None else stream or sys.stdout
        self._writer = written_to(self._place)
        # An unregistered logger: levels, filters and handlers of the agent's own logging do not touch the lines.
        self._logger = logging.Logger(f"agentlog.{self.agent_id}")  # noqa: LOG001
        self._logger.addHandler(self._writer)
        self._sessions: dict[Session, None] = {}
        self._family: dict[str, AgentLogger] = {self.agent_id: self}

    def session(
        self,
        *,
        task_type: str | None = None,
        session_id: str | None = None,
        task: str | None = None,
        headers: handoff.Headers | None = None,
        traceparent: str | None = None,
        token_ceiling: float | None = None,
        max_retries: float | None = None,
        timeout: float | None = None,
    ) -> Session:
        """One task: `with` begins and ends it.

        It belongs to the task of the `headers` (of `Session.handoff`, names in any case) or the `traceparent`; else to
        the task of the session around it, of any agent; else it is a new task, named `task` or by its trace id.
        `token_ceiling`, `max_retries` and `timeout` (seconds) apply to its actions.
        """
        around = current_session()
        if headers is not None or traceparent is not None:
            origin = handoff.received({} if headers is None else headers, traceparent, task)
        elif around is not None and task is None:
            origin = around.origin._replace(parent_span_id=around.span_id, parent_agent_id=around.log.agent_id)
        else:
            origin = handoff.begun(task)
        return Session(
            self,
            origin,
            task_type=task_type,
            session_id=session_id,
            token_ceiling=token_ceiling,
            max_retries=max_retries,
            timeout=timeout,
        )

    def action(self, name: str, *, expected_tokens: int = 0, timeout: float | None = None) -> Calls:
        """A decorator for functions, plain or async: every call is an action of the session around it.

        The arguments are the input. The result is the output, unless the function sets one on `current_action()`.
        Outside of a session of this agent, a call is a session of its own.
        """
        return Calls(self, name, expected_tokens=expected_tokens, timeout=timeout)

    def heartbeat(self, state: Literal["idle", "working"], detail: str | None = None) -> None:
        """Write a heartbeat, with what the agent is doing."""
        output: record.Fields = {"state": record.text(state)}
        if detail is not None:
            output["detail"] = record.text(detail)
        sessions = list(self._sessions)
        fields: record.Fields = {
            "timestamp": written(self.clock.now()),
            "agent_id": self.agent_id,
            "session_id": sessions[-1].id if sessions else f"proc_{os.getpid()}",
            "action": HEARTBEAT,
            "status": "success",
            "output": output,
        }
        if self.team is not None:
            fields["metadata"] = {"team": self.team}
        self.write(fields)

    def heartbeats(self, every: float = 10.0) -> Heartbeats:
        """Heartbeats every so many seconds, from a thread of their own: `with`, or `start` and `stop`."""
        return Heartbeats(self, every)

    def named(self, agent_id: str, *, team: str | None = None) -> AgentLogger:
        """The log of another agent, with the same place and settings. The same name gives the same log.

        `team` is that of the first call with the name, or else this agent's.
        """
        name = record.name(agent_id)
        other = self._family.get(name)
        if other is None:
            place = {"path": self._place} if isinstance(self._place, Path) else {"stream": self._place}
            other = AgentLogger(
                name,
                team=self.team if team is None else team,
                content=self.content,
                max_content=self.max_content,
                clock=self.clock,
                **place,
            )
            other.budget = self.budget
            other._family = self._family
            other = self._family.setdefault(name, other)
        return other

    def flush(self) -> None:
        """Wait until the lines are written, at most 2 s. The end of the program does the same."""
        self._writer.flush()

    # --- what its sessions do with it ---------------------------------------------------------------------------

    def write(self, fields: record.Fields) -> None:
        """Queue a line."""
        self._logger.handle(logging.LogRecord(self.agent_id, logging.INFO, "", 0, fields, None, None))

    def snapshot(self, value: object) -> Any:
        """A copy of an input, if inputs are written."""
        return record.content(value, self.max_content) if self.content else None

    def opened(self, session: Session) -> None:
        """A session has begun."""
        self._sessions[session] = None

    def closed(self, session: Session) -> None:
        """A session has ended."""
        self._sessions.pop(session, None)

    @property
    def at_work_on(self) -> str | None:
        """The text of a heartbeat: the newest session, and how many more are open; None if none is."""
        sessions = list(self._sessions)
        if not sessions:
            return None
        others = len(sessions) - 1
        return sessions[-1].at_work_on + (f" and {others} more session{'s' * (others > 1)}" if others else "")

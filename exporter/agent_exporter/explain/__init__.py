"""`agent-exporter explain`: one task out of many logs, and what went wrong first in it.

    unpack     a log of any kind -> a file of plain lines
    log        a file -> blocks of lines with their times
    names      the ids of a line's task, and the bytes to search for
    search     a trace, a session or an agent -> the lines of its tasks
    beside     ... and those that the detectors need beside them
    evidence   lines -> findings, by the detectors themselves
    task       lines and findings -> the tree, the sums, what went wrong first
    story      a task -> two sentences
    page       tasks -> text (`rows` of the tree, what the first failure was `given`, harmless in a `terminal`)
    document   tasks -> JSON

The tree hangs together by the rules of the spans (`lineage`, `status.waterfall`); the sentences are the status page's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agent_exporter import formatting
from agent_exporter.explain.evidence import findings
from agent_exporter.explain.search import Search
from agent_exporter.explain.task import Task, build
from agent_exporter.prices import Prices
from agent_exporter.status import conditions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_exporter.config import Config
    from agent_exporter.explain.log import Log


SINCE = 3600.0
"""Seconds."""


class Answer(NamedTuple):
    """The tasks found, the worst first, then the latest."""

    tasks: list[Task]
    now: float
    """Time of the newest line, seconds since 1970."""
    more: int
    """How many older tasks were left out."""
    dropped: int
    """How many lines were left out, as there were too many."""


class Missing(Exception):  # noqa: N818  (an answer, too)
    """The logs do not have what was asked for: a sentence."""


def explain(
    config: Config,
    logs: Sequence[Log],
    *,
    trace: str | None = None,
    session: str | None = None,
    agent: str | None = None,
    since: float = SINCE,
) -> Answer:
    """The tasks of a trace, of a session, or of an agent in the last `since` seconds.

    Raises Missing if there are none.
    """
    search = Search(logs, config)
    if trace is not None:
        found = search.trace(trace)
        missing = f"no line names the trace {trace!r}"
    elif session is not None:
        found = search.session(session)
        missing = f"no line is of the session {session!r}"
    else:
        assert agent is not None
        found = search.agent(agent, since)
        missing = f"no line is of the agent {agent!r}"
        if search.seen is not None:
            lately = f"the last {formatting.duration(since)} of the log"
            missing = (
                f"agent {agent!r} did nothing in {lately}: its last action was at {formatting.moment(search.seen)}"
            )
    if found is None:
        if search.instead is not None:
            missing += f", but there is such a name of a {search.instead}: try --{search.instead}"
        if rejected := sum(log.rejected for log in logs):
            missing += f"; {rejected:,} lines that may belong to it were rejected; `agent-exporter validate` says why"
        raise Missing(missing)
    complete = Prices(config.prices).complete
    for actions in (*found.tasks.values(), found.beside):
        actions[:] = [complete(action)[0] for action in actions]
    lines = [action for actions in found.tasks.values() for action in actions] + found.beside
    all_findings, session_of = findings(config, sorted(lines, key=lambda action: action.at))
    tasks = [build(trace_id, actions, all_findings, session_of) for trace_id, actions in found.tasks.items()]
    tasks.sort(key=lambda task: (conditions.LEVELS.index(task.level), not task.paging, -task.ended))
    return Answer(tasks, search.now(), found.more, found.dropped)

"""The pages: committed rows and what is remembered in, HTML out. tornado's templates escape all that is not ours."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from shlex import quote as quote_for_shell
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote, unquote

import msgspec
from tornado.escape import xhtml_escape
from tornado.template import Loader

from agent_exporter import __version__, formatting
from agent_exporter.benchmark import history
from agent_exporter.benchmark.run import FLOOR
from agent_exporter.metrics.cells import DAY, AgentCell, Cell, CountCell, Day, SourceCell
from agent_exporter.metrics.limits import OVERFLOW, label
from agent_exporter.status import conditions, sentences
from agent_exporter.status.drawings import gauge, spark
from agent_exporter.status.recent import STEP, STEPS
from agent_exporter.status.waterfall import waterfall
from agent_exporter.text import printable
from agent_exporter.thresholds import FRESH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent_exporter.benchmark.history import Run
    from agent_exporter.metrics.samples import AgentSettings
    from agent_exporter.probes.check import Result
    from agent_exporter.state import Rows
    from agent_exporter.status.snapshot import Snapshot

C = TypeVar("C", bound=Cell)

HERE = Path(__file__).parent
ASSETS = {"/status.css": "text/css; charset=utf-8", "/icon.svg": "image/svg+xml"}
"""Files that the pages name, by path, with their content types."""

NOWHERE = ""
"""The path of the page for paths that have none."""
MAX_AGENTS = 200
"""Rows of the overview: agents that need attention first, then the latest seen."""
MAX_SESSIONS = 50
MAX_TEXT = 1_000
"""Characters of any one text on a page."""
REFRESH = 5
"""Seconds between two loads of a page."""
ERROR_WINDOW = 900
"""Seconds of the error rate: long enough that one failure among few is not half of them."""
RATE_WINDOW = 60
"""Seconds of "tokens per minute"."""


class AgentRow(NamedTuple):
    """One agent on the overview."""

    name: str
    cell: AgentCell
    conditions: list[conditions.Condition]
    today: Day
    rate: int
    """Tokens in the last RATE_WINDOW seconds."""
    spark: list[int]
    """Tokens per minute, oldest first."""
    actions: int
    failures: int
    """Of `actions`, in the last ERROR_WINDOW seconds."""
    settings: AgentSettings
    checks: Sequence[Result]
    runs: Sequence[tuple[str, Run]]
    """Its latest benchmark runs, by their suites."""

    @property
    def level(self) -> str:
        """Of its worst condition."""
        return self.conditions[0].level


class Pages:
    """Writes a page for a path, from what `look(agent, trace_id)` finds. Thread-safe.

    `metrics` is whether a browser gets /metrics: it cannot if that needs a token, and then no page links to it.
    """

    def __init__(self, look: Callable[[str | None, str | None], Snapshot], *, metrics: bool = True) -> None:
        self._look = look
        names = {
            "text": _text, "formatting": formatting, "conditions": conditions, "sentences": sentences,
            "FLOOR": FLOOR, "spark": spark, "gauge": gauge,
            "agent_path": agent_path, "label": label, "version": __version__,
            "shell": quote_for_shell, "metrics": metrics, "fresh_for": FRESH, "pipe": conditions.Pipe(),
        }  # fmt: skip
        self._templates = Loader(str(HERE), autoescape="text", namespace=names)

    def render(self, path: str, refresh: int | None = None) -> str | None:
        """The page of a path, or None if there is none; it loads itself again after `refresh` seconds."""
        section, _, rest = path.removeprefix("/").partition("/")
        if section == "agents" and rest:
            return self._agent(unquote(rest), refresh)
        if section == "traces" and rest:
            return self._trace(rest, refresh)
        snapshot = self._look(None, None)
        if path == NOWHERE:
            return self._write("missing.html", snapshot, refresh, title="Not here")
        if path == "/findings":
            return self._write("findings.html", snapshot, refresh, title="Findings", findings=snapshot.findings)
        if path != "/":
            return None
        pipe = judge(snapshot)
        agents = fleet(snapshot, pipe)
        return self._write(
            "overview.html", snapshot, refresh,
            title="Fleet",
            pipe=pipe,
            agents=steady(agents[:MAX_AGENTS]),
            more=len(agents) - MAX_AGENTS,
            levels=Counter(agent.level for agent in agents),
            tokens=sum(agent.today.tokens for agent in agents),
            cost=sum(agent.today.cost_usd for agent in agents),
            sources=_cells(snapshot.rows, "source", SourceCell),
            odd=sorted(
                (cell for cell in _cells(snapshot.rows, "line_warning", CountCell) if cell.count),
                key=lambda cell: -cell.count,
            ),
        )  # fmt: skip

    def _agent(self, name: str, refresh: int | None) -> str | None:
        snapshot = self._look(name, None)
        pipe = judge(snapshot)
        agent = next((row for row in fleet(snapshot, pipe) if row.name == name), None)
        if agent is None:
            return None
        return self._write(
            "agent.html", snapshot, refresh,
            title=label(name),
            agent=agent,
            pipe=pipe,
            sessions=sorted(snapshot.sessions, key=lambda session: -session.tokens)[:MAX_SESSIONS],
            tasks=snapshot.live.tasks,
            quality=conditions.quality(agent.cell, snapshot.live.now),
            findings=[
                finding
                for finding in snapshot.findings
                if finding.agent_id == name
                or name in finding.evidence.get("agents", ())
                or (finding.kind == "cascade" and finding.trace_id == agent.cell.cascade_trace)
            ],
        )  # fmt: skip

    def _trace(self, trace_id: str, refresh: int | None) -> str | None:
        snapshot = self._look(None, trace_id)
        if snapshot.trace is None:
            return None
        findings = [finding for finding in snapshot.findings if finding.trace_id == trace_id]
        rows = waterfall(snapshot.trace, findings)
        name = next((done.trace for done in snapshot.trace.actions if done.trace not in {"", trace_id}), "")
        return self._write(
            "trace.html", snapshot, refresh,
            title=f"Trace {label(name) or trace_id}", trace_id=trace_id, name=name, rows=rows,
            trace=snapshot.trace, findings=findings,
        )  # fmt: skip

    def _write(self, template: str, snapshot: Snapshot, refresh: int | None, **values: Any) -> str:
        page = self._templates.load(template).generate(
            snapshot=snapshot, now=snapshot.live.now, refresh=refresh, **values
        )
        return page.decode()


def judge(snapshot: Snapshot) -> conditions.Pipe:
    """Whether the silence of agents is theirs."""
    agents = [
        (cell, snapshot.live.agent(cell.agent))
        for cell in _cells(snapshot.rows, "agent", AgentCell)
        if cell.agent != OVERFLOW
    ]
    newest = max((cell.last_line for cell in _cells(snapshot.rows, "source", SourceCell)), default=0.0)
    return conditions.judge_pipe(agents, newest, snapshot.live.now, snapshot.since)


def fleet(snapshot: Snapshot, pipe: conditions.Pipe) -> list[AgentRow]:
    """Every agent: those that need attention first, then the latest seen. `pipe` is the result of `judge`."""
    now = snapshot.live.now
    today = int(now // DAY)
    checks: dict[str, list[Result]] = defaultdict(list)
    for check in sorted(snapshot.live.checks):
        checks[check.agent].append(check)
    runs: dict[str, list[tuple[str, Run]]] = defaultdict(list)
    for agent, suite, run in history.latest(snapshot.rows.get(history.ROW_KIND, {}).items()):
        runs[agent].append((suite, run))
    agents = []
    for cell in _cells(snapshot.rows, "agent", AgentCell):
        if cell.agent == OVERFLOW:
            continue
        settings = snapshot.live.agent(cell.agent)
        spent = cell.days.get(today) or Day()
        rates = snapshot.rates.get(cell.agent, [])
        recent = rates[-ERROR_WINDOW // STEP :]
        agents.append(
            AgentRow(
                cell.agent,
                cell,
                conditions.conditions(
                    cell, settings, spent, now, snapshot.since, checks[cell.agent], runs[cell.agent], pipe
                ),
                spent,
                sum(tokens for _, _, tokens in rates[-RATE_WINDOW // STEP :]),
                _by_minute([tokens for _, _, tokens in rates]),
                sum(actions for actions, _, _ in recent),
                sum(failures for _, failures, _ in recent),
                settings,
                checks[cell.agent],
                runs[cell.agent],
            )
        )
    return sorted(agents, key=lambda agent: (conditions.LEVELS.index(agent.level), -agent.cell.last_seen))


def steady(agents: Sequence[AgentRow]) -> list[AgentRow]:
    """Sorted by name within a level, so that rows keep their places when the page loads again."""
    return sorted(agents, key=lambda agent: (conditions.LEVELS.index(agent.level), agent.name))


def agent_path(name: str) -> str:
    """Where an agent's page is."""
    return f"/agents/{quote(name, safe='')}"


def _by_minute(steps: list[int]) -> list[int]:
    each = 60 // STEP
    return [sum(steps[start : start + each]) for start in range(0, STEPS, each)] if steps else []


def _cells(rows: Rows, kind: str, cell: type[C]) -> list[C]:
    decode = msgspec.msgpack.Decoder(cell).decode
    return [decode(value) for value in rows.get(kind, {}).values()]


def _text(value: bytes) -> str:
    return xhtml_escape(printable(value.decode()[:MAX_TEXT]))  # tornado's templates hand on UTF-8

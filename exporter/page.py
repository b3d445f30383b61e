"""The landing page: what runs here, whether it is well, and where to look next. No scripts, nothing from outside."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING, TypeVar

import msgspec

from exporter import __version__
from exporter.action import FAILED
from exporter.metrics.cells import ActionCell, AgentCell, Cell, Day, SourceCell
from exporter.metrics.limits import label

if TYPE_CHECKING:
    from exporter.state import Rows

C = TypeVar("C", bound=Cell)

MOST_AGENTS = 200
"""Rows of the table; the newest first."""


def landing(rows: Rows, problem: str | None, now: float) -> str:
    """The page as HTML. `rows` are committed ones, `problem` why the exporter is not ready, `now` the clock."""
    agents = sorted(_cells(rows, "agent", AgentCell), key=lambda cell: -cell.last_active)
    actions: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    for done in _cells(rows, "action", ActionCell):
        failed = sum(done.others[status] for status in FAILED)
        actions[done.agent] += done.successes + sum(done.others.values())
        failures[done.agent] += failed
    sources = _cells(rows, "source", SourceCell)
    verdict = f'<p class="bad">Not ready: {escape(problem)}</p>' if problem else '<p class="good">Ready.</p>'
    more = f"<p>and {len(agents) - MOST_AGENTS} more</p>" if len(agents) > MOST_AGENTS else ""
    today = int(now // 86400)
    return _PAGE.format(
        version=escape(__version__),
        verdict=verdict,
        sources="".join(_source(cell, now) for cell in sources)
        or '<tr><td colspan="6">none: lines may be sent to /v1/logs</td></tr>',
        agents="".join(
            _agent(cell, now, today, actions[cell.agent], failures[cell.agent]) for cell in agents[:MOST_AGENTS]
        )
        or '<tr><td colspan="7">no agent has logged yet</td></tr>',
        more=more,
    )


def _source(cell: SourceCell, now: float) -> str:
    rejected = sum(cell.rejected.values())
    worst = max(cell.rejected.items(), key=lambda item: item[1])[0] if rejected else ""
    return _row(
        label(cell.source),
        f"{cell.read:,}",
        f"{cell.accepted:,}",
        f"{rejected:,}" + (f" ({worst} most)" if worst else ""),
        f"{cell.duplicate:,}",
        ago(cell.last_line, now),
    )


def _agent(cell: AgentCell, now: float, today: int, actions: int, failures: int) -> str:
    spent = cell.days.get(today) or Day()
    return _row(
        label(cell.agent),
        label(cell.team),
        ago(cell.last_active, now),
        f"{actions:,}",
        f"{failures:,}",
        f"{cell.active:,}",
        f"{spent.tokens:,} tokens, ${spent.cost_usd:,.2f}",
    )


def ago(then: float, now: float) -> str:
    """How long ago, in the largest unit that is above one."""
    if not then:
        return "never"
    seconds = max(0, int(now - then))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def _row(first: str, *rest: str) -> str:
    cells = "".join(f"<td>{escape(text)}</td>" for text in rest)
    return f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>\n'


def _cells(rows: Rows, kind: str, cell: type[C]) -> list[C]:
    decode = msgspec.msgpack.Decoder(cell).decode
    return [decode(value) for value in rows.get(kind, {}).values()]


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="5">
<title>agent-exporter</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; margin-bottom: 0; }} h2 {{ font-size: 1.1rem; margin-top: 2rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #8884; overflow-wrap: anywhere; }}
thead th {{ font-weight: 600; }} tbody th {{ font-weight: 400; font-family: ui-monospace, monospace; }}
td {{ font-variant-numeric: tabular-nums; }}
.good::before {{ content: "● "; color: #17803d; }} .bad::before {{ content: "▲ "; color: #c2410c; }}
.wide {{ overflow-x: auto; }}
</style>
</head>
<body>
<main>
<h1>agent-exporter</h1>
<p>Version {version}. JSON lines of AI agents in, Prometheus metrics and OTLP traces out.</p>
{verdict}
<h2>Go to</h2>
<ul>
<li><a href="/metrics">/metrics</a>, what Prometheus scrapes</li>
<li><a href="/-/ready">/-/ready</a> and <a href="/-/healthy">/-/healthy</a>, for probes</li>
<li><code>POST /v1/logs</code>, for an OpenTelemetry collector or any OTLP/HTTP sender</li>
</ul>
<h2 id="sources">Sources</h2>
<div class="wide">
<table aria-labelledby="sources">
<thead><tr><th scope="col">Source</th><th scope="col">Lines read</th><th scope="col">Accepted</th>
<th scope="col">Rejected</th><th scope="col">Duplicates</th><th scope="col">Newest line</th></tr></thead>
<tbody>
{sources}</tbody>
</table>
</div>
<h2 id="agents">Agents</h2>
<div class="wide">
<table aria-labelledby="agents">
<thead><tr><th scope="col">Agent</th><th scope="col">Team</th><th scope="col">Last active</th>
<th scope="col">Actions</th><th scope="col">Failed</th><th scope="col">Open sessions</th>
<th scope="col">Spent today (UTC)</th></tr></thead>
<tbody>
{agents}</tbody>
</table>
</div>
{more}
</main>
</body>
</html>
"""

"""The numbers: one struct per label set, each stored as one row of state.

A line makes some ten updates: prometheus_client's own children take 11 to 23 us for them, cells 1 us.
A histogram is a list of counts per bucket, not cumulative, and a sum.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from agent_exporter.action import STATES, STATUSES
from agent_exporter.detectors import session_budget
from agent_exporter.detectors.finding import LOOPS, RESULTS
from agent_exporter.detectors.kinds import TOPICS
from agent_exporter.sessions import OUTCOMES

DURATION = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Seconds of an action: from a cached tool call to half an hour of work."""
CONFIDENCE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SESSION_SECONDS = (1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0)
"""Seconds of a session: 30 is the article's normal task, 300 its runaway."""
SESSION_TOKENS = (1e3, 2.5e3, 5e3, 1e4, 2.5e4, 5e4, 1e5, 2.5e5, 5e5, 1e6, 4e6)
"""Tokens of a session: 50,000 is the default ceiling."""
GEN_AI_TOKENS = tuple(float(4**n) for n in range(14))
"""Buckets of the OpenTelemetry GenAI conventions: 1 to 67,108,864."""
GEN_AI_SECONDS = tuple(0.01 * 2**n for n in range(14))
"""Buckets of these conventions: 0.01 to 81.92 s."""

DAY = 86_400
"""Seconds."""
DAYS = 4
"""UTC days kept of an agent: today, and the three whole days over which quality is judged."""

Exemplar = tuple[str, float, float]
"""(trace as the line names it, value, time in seconds since 1970)."""


def _counts(bounds: tuple[float, ...]) -> list[int]:
    return [0] * (len(bounds) + 1)


class Cell(Struct, eq=False, gc=False, array_like=True):
    """`key` is the key of its row. Rows grow at the end, so the fields of all cells come first, without defaults."""

    key: str
    created: float
    """Clock when the first line was counted, seconds since 1970: `_created` of its counters."""
    dirty: bool
    """It has changed since the last commit. A flag, as a set of cells would cost more than all the counting."""


class ActionCell(Cell):
    """(agent_id, action)."""

    agent: str
    action: str
    llm: bool | None
    """Whether it is a call of a model; None for `_overflow`, which holds both kinds."""
    successes: int = 0
    others: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(STATUSES[1:], 0))
    """Actions by status, other than success."""
    retries: int = 0
    fallbacks: int = 0
    durations: list[int] = msgspec.field(default_factory=lambda: _counts(DURATION))
    duration_sum: float = 0.0
    status_exemplars: dict[str, Exemplar] = {}
    duration_exemplars: dict[int, Exemplar] = {}
    anomalies: int = 0
    average: float | None = None
    """Mean tokens of its latest calls; None if none had any."""


class ModelCell(Cell):
    """(agent_id, model)."""

    agent: str
    model: str
    prompt: int = 0
    completion: int = 0
    cost_usd: float = 0.0
    mismatches: int = 0
    """Calls whose logged cost differs from the price table."""
    unpriced: int = 0
    """Tokens of calls that have neither a price nor a logged cost."""
    cache_apart: int = 0
    """Calls whose prompt left out the cached tokens."""


class ErrorCell(Cell):
    """(agent_id, error_type)."""

    agent: str
    error_type: str
    errors: int = 0


class TaskCell(Cell):
    """(agent_id, task_type)."""

    agent: str
    task_type: str
    outcomes: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    seconds: list[int] = msgspec.field(default_factory=lambda: _counts(SESSION_SECONDS))
    seconds_sum: float = 0.0
    tokens: list[int] = msgspec.field(default_factory=lambda: _counts(SESSION_TOKENS))
    tokens_sum: int = 0
    over_budget: int = 0


class GenAICell(Cell):
    """(operation, model), with the names of the GenAI conventions, which have no label for the agent."""

    model: str
    input: list[int] = msgspec.field(default_factory=lambda: _counts(GEN_AI_TOKENS))
    input_sum: int = 0
    output: list[int] = msgspec.field(default_factory=lambda: _counts(GEN_AI_TOKENS))
    output_sum: int = 0
    seconds: list[int] = msgspec.field(default_factory=lambda: _counts(GEN_AI_SECONDS))
    seconds_sum: float = 0.0


class Baseline(Struct, array_like=True):
    """The mean of a quality signal over its first 7 UTC days, then frozen. Times are seconds since 1970."""

    start: float
    end: float
    total: float = 0.0
    count: int = 0
    frozen: bool = False


class Mean(Struct, array_like=True):
    """The mean of values from 0 to 1."""

    total: float = 0.0
    count: int = 0


class Day(Struct, array_like=True):
    """What an agent spent in one UTC day, and how good it was."""

    tokens: int = 0
    cost_usd: float = 0.0
    quality: dict[str, Mean] = {}
    """Means by signal, as in `baselines`."""


class AgentCell(Cell):
    """One agent: numbers without a further label, and what its other cells share."""

    agent: str
    team: str = ""
    first_seen: float = 0.0
    last_active: float = 0.0
    last_action: float = 0.0
    active: int = 0
    states: dict[str, float] = msgspec.field(default_factory=lambda: {"idle": 0.0, "working": 0.0})
    heartbeats: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(STATES, 0))
    confidence: list[int] = msgspec.field(default_factory=lambda: _counts(CONFIDENCE))
    confidence_sum: float = 0.0
    confidence_successes: int = 0
    feedback_sum: float = 0.0
    feedback_count: int = 0
    days: dict[int, Day] = {}
    """The DAYS latest UTC days, by number since 1970."""
    baselines: dict[str, Baseline] = {}
    configured: bool = False
    loops: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(LOOPS, 0))
    cascades: int = 0
    """Cascades of which it is the suspected root."""
    cascade_members: int = 0
    findings: dict[str, float] = msgspec.field(default_factory=lambda: dict.fromkeys(TOPICS, 0.0))
    """The clock at the latest finding, by topic; 0 means never."""
    unconfirmed: int = 0
    """Sessions that still log although they should have stopped."""
    terminations: dict[str, dict[str, int]] = msgspec.field(
        default_factory=lambda: {session_budget.KIND: dict.fromkeys(RESULTS, 0)}
    )
    """Terminations by reason, then result."""
    cascade_trace: str = ""
    """Trace of the latest cascade in which it failed."""
    heard: float = 0.0
    """The clock when its newest line arrived from a source that was caught up; 0 means never. In an old log that is
    read in order, the newest time of all lines until then."""
    clock_offset: float | None = None
    """Seconds that its clock is ahead (negative: behind), as `clocks` measures it; None while unknown."""
    model_calls: int = 0
    calls_without_tokens: int = 0
    """Successful ones, without tokens or with zero: no budget sees them."""

    @property
    def last_seen(self) -> float:
        """Time of its newest line, or of the line's arrival if that is later; 0 means never."""
        return self.last_active if self.last_active > self.heard else self.heard


class SourceCell(Cell):
    """The lines of one source. read = accepted + rejected + duplicate + ignored, to the unit."""

    source: str
    read: int = 0
    accepted: int = 0
    duplicate: int = 0
    ignored: int = 0
    rejected: dict[str, int] = {}
    truncations: int = 0
    late: int = 0
    last_line: float = 0.0
    nul_bytes: int = 0
    repeated: int = 0
    """Accepted lines that repeat an earlier record."""
    lost_bytes: int = 0
    """An estimate: written to files that were cut before they were read."""


class CountCell(Cell):
    """One of the exporter's own counters with at most one label."""

    kind: str
    label: str
    count: int = 0


C = TypeVar("C", bound=Cell)


class Reader(Generic[C]):
    """Reads the rows of a kind of cell. Called with a row's key and value, it gives the cell."""

    def __init__(self, cell: type[C]) -> None:
        self._decode = msgspec.msgpack.Decoder(cell).decode
        made = {
            field.name: field.default_factory
            for field in msgspec.structs.fields(cell)
            if callable(field.default_factory) and field.default_factory()
        }
        self._names = {name: make for name, make in made.items() if isinstance(make(), dict)}
        self._buckets = {name: len(make()) for name, make in made.items() if isinstance(make(), list)}

    def __call__(self, key: str, value: bytes) -> C:
        """Sets names that are missing in an older row to zero. Raises ValueError if the buckets differ."""
        cell = self._decode(value)
        if cell.key != key:
            raise ValueError("the row of another key")
        for name, make in self._names.items():
            setattr(cell, name, make() | getattr(cell, name))
        for name, length in self._buckets.items():
            if len(getattr(cell, name)) != length:
                raise ValueError(f"{name}: {len(getattr(cell, name))} buckets, this version has {length}")
        return cell


CELL_TYPES: dict[str, type[Cell]] = {
    "agent": AgentCell,
    "action": ActionCell,
    "model": ModelCell,
    "error": ErrorCell,
    "task": TaskCell,
    "gen_ai": GenAICell,
    "source": SourceCell,
    "overflow": CountCell,
    "eviction": CountCell,
    "spans": CountCell,
    "ignored_field": CountCell,
    "line_warning": CountCell,
    "record_skipped": CountCell,
    "unreadable_row": CountCell,
}
"""The kinds of rows that the exposition is made from."""

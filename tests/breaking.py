"""An exporter that may stop sessions: lines in, calls out, with a clock that moves only when it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detecting import START, Kept, line

from agent_exporter.breaker import Operators
from agent_exporter.config import parse
from agent_exporter.lines import Batch, Origin
from agent_exporter.sources import Source
from agent_exporter.stages import Stages

if TYPE_CHECKING:
    from pathlib import Path

    from agent_exporter.breaker.intent import Intent

CONFIG = """
agents:
  runaway:
    trusted_sources: ["/logs/runaway/*"]
    terminate: {url: "http://127.0.0.1:9/{session_id}"}
  "loop-*":
    trusted_sources: ["*"]
    terminate: {url: "http://127.0.0.1:9/{session_id}"}
task_types:
  default: {session_tokens: 1000}
  batch: {session_tokens: 5000, session_cost_usd: 1}
state: {path: PATH/state.db}
breaker: {mode: enforce, reasons: [session_budget, loop]}
"""
OWN = Origin(path="/logs/runaway/a.log")


class Lines(Source):
    """A source that gives what it was told to say, one batch per origin."""

    name = "told"

    def __init__(self) -> None:
        self.batches: list[tuple[list[bytes], Origin]] = []
        self.delivers = False
        """As requests of OTLP, whose sender may deliver them again."""

    def read(self) -> Batch | None:
        if not self.batches:
            return None
        lines, origin = self.batches.pop(0)
        self.origins = ((0, origin),)
        return Batch(lines, envelopes=[b""] * len(lines) if self.delivers else ())


class Rig:
    """`calls` are the intents that were handed over, in order; each was committed before."""

    def __init__(self, tmp_path: Path, config: str = CONFIG, store: Kept | None = None, now: float = 0.0) -> None:
        self.config = parse(config.replace("PATH", str(tmp_path)))
        self.store = store or Kept()
        self.seconds = now
        self.source = Lines()
        self.stages = Stages(self.config, self.store, [self.source])
        self.pipeline = self.stages.pipeline
        self.pipeline.clock = lambda: START + self.seconds
        self.breaker = self.stages.breaker
        self.operators = Operators(self.breaker, self.stages.sessions)
        self.calls: list[Intent] = []
        self.breaker.call = self._called

    def _called(self, mine: Intent) -> None:
        assert ("intent", mine.key) in self.store.kept
        self.calls.append(mine)

    def say(self, *lines: bytes, origin: Origin = OWN) -> None:
        """Lines that are read at once; then the sources are read up."""
        self.source.batches.append((list(lines), origin))
        self.read()

    def read(self) -> None:
        """One turn of the pipeline's loop, until there is nothing more."""
        while (batch := self.source.read()) is not None:
            self.source.note(*self.pipeline.feed(self.source, batch))
        if self.breaker.undecided:
            self.breaker.decide(self.pipeline.now())
        self.pipeline.commit()

    def wait(self, seconds: float) -> None:
        """The clock goes on; what is due once a second is done."""
        self.seconds += seconds
        self.pipeline._tick()
        self.read()

    def spend(self, tokens: int, origin: Origin = OWN, **fields: Any) -> None:
        """A call of the runaway that takes so many tokens, now."""
        self.seconds += 0.001  # no two lines are the same
        fields = {"agent_id": "runaway", "session_id": "s", "action": "llm_call"} | fields
        self.say(line(self.seconds, tokens={"prompt": tokens, "completion": 0}, **fields), origin=origin)

    def answer(self, refused: Exception | None = None, call: int = -1) -> bool:
        """The agent's answer to a call."""
        again = self.breaker.answered(self.calls[call].key, refused, self.pipeline.now())
        self.pipeline.commit()
        return again

    def restart(self, tmp_path: Path, config: str = CONFIG) -> Rig:
        """SIGKILL after the last commit, and a new exporter on what it left."""
        return Rig(tmp_path, config, self.store, self.seconds)

    @property
    def statuses(self) -> list[tuple[str, str, str]]:
        """(reason and generation, status, why) of every intent, in order."""
        return [(f"{mine.reason} {mine.generation}", mine.status, mine.why) for mine in self.breaker.intents]

    def results(self, agent_id: str = "runaway", reason: str = "session_budget") -> dict[str, int]:
        """What agent_terminations_total says, less zeros."""
        cell = self.stages.tally.agents[agent_id].cell
        return {result: count for result, count in cell.terminations.get(reason, {}).items() if count}

    def evictions(self, table: str) -> int:
        """What agent_exporter_table_evictions_total says."""
        return self.stages.tally.counts["eviction", table].count

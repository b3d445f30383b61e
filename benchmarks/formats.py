"""What a record of another program costs, beside a line of ours: CPU of `replay`, less that of an empty log.

The records are those of the tests (`tests/foreign.py`), each with some 600 bytes of content, in one file a program.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from process import EXPORTER, ROOT, cores, finish, start

sys.path.insert(0, str(ROOT / "tests"))
from foreign import Claude, Codex, Pi, call, text, tool, words

PINO = """
extends: pino
defaults: {agent_id: agent, session_id: session}
records:
- when: {tool: present}
  emit: {action: tool, duration_ms: durationMs, input: input, tokens.prompt: tokens, output.result: said}
"""
CONTENT = "x" * 600


def ours(turns: int) -> list[dict]:
    """Sessions of 100 turns: a call of the model, and a tool."""
    at = datetime(2026, 3, 18, 9, tzinfo=UTC)
    rows = []
    for number in range(2 * turns):
        at += timedelta(seconds=1)
        row = {"timestamp": at.isoformat().replace("+00:00", "Z"), "agent_id": "a", "session_id": f"s{number // 200}"}
        row |= {"action": "make" if number % 2 else "llm_call", "status": "success", "duration_ms": 20}
        row |= {"input": {"command": f"make {number}"}, "output": {"result": CONTENT}, "tokens": {"prompt": 1200}}
        rows.append(row)
    return rows


def pino(turns: int) -> list[dict]:
    """The same, as pino writes them."""
    rows = []
    for number, row in enumerate(ours(turns)):
        said = {"level": 30, "time": 1773824400000 + 1000 * number, "pid": 7, "hostname": "h", "msg": "done"}
        said |= {"agent": "a", "session": row["session_id"], "tool": row["action"], "durationMs": 20}
        rows.append(said | {"input": row["input"], "tokens": 1200, "said": CONTENT})
    return rows


def claude(turns: int) -> list[dict]:
    """One session: each answer is two lines, and a tool."""
    session = Claude()
    for number in range(turns):
        [name] = session.answer(words("I look."), tool(command=f"make {number}"))
        session.result(name, CONTENT)
    return session.rows


def codex(turns: int) -> list[dict]:
    """One thread: each answer is three lines, and a tool two."""
    thread = Codex()
    thread.turn()
    for number in range(turns):
        thread.call(f"make {number} {CONTENT}")
        thread.answer(9000 + number)
    return thread.rows


def pi(turns: int) -> list[dict]:
    """One session: a line for each answer, and for each tool."""
    session = Pi()
    for number in range(turns):
        session.answer(call(number))
        session.result(f"call_{number}", said=CONTENT)
    return session.rows


def cost(log: Path, *options: object) -> float:
    """Seconds of CPU."""
    began = time.monotonic()
    return finish(start([*EXPORTER, "replay", *options, log], core=cores()[0]), began).cpu


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what records of other programs cost.")
    parser.add_argument("--turns", type=int, default=30_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print("| | records | bytes each | us of CPU per record | x a line of ours |\n|---|---|---|---|---|")
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="agent-exporter-formats-", dir=memory) as name:
        folder = Path(name)
        mapping, empty = folder / "pino.yaml", folder / "empty"
        mapping.write_text(PINO)
        empty.write_bytes(b"")
        logs: dict[str, tuple[Path, int, tuple[object, ...]]] = {}
        for what, make in (("ours", ours), ("pino", pino), ("claude-code", claude), ("codex", codex), ("pi", pi)):
            rows = make(options.turns)
            log = folder / f"{what}.ndjson"
            log.write_bytes(text(rows))
            logs[what] = log, len(rows), ("--format", mapping) if what == "pino" else ()
        taken: dict[str, list[float]] = {what: [] for what in logs}
        for _ in range(options.rounds):
            idle = cost(empty)
            for what, (log, count, more) in logs.items():
                taken[what].append((cost(log, *more) - idle) / count * 1e6)
        base = statistics.median(taken["ours"])
        for what, (log, count, _) in logs.items():
            each, size = statistics.median(taken[what]), log.stat().st_size // count
            print(f"| {what} | {count:,} | {size} | {each:.1f} | {each / base:.2f} |")


if __name__ == "__main__":
    main()

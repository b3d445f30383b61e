"""A log to measure with: `python benchmarks/generate.py LINES OUT [--seed 1] [--rate 50]`. Same arguments, same bytes.

The article's schema; 200 agents and 20 actions, both Zipf-like; 6 models; 50 lines to a session, so 20,000 sessions in
a million lines; mean 730 bytes. Three of five agents write as `json.dumps` does (spaces, \\u escapes), the others
compactly and in raw UTF-8. 3 % failures; three sessions in ten take longer than they may, one in seven goes over its
budget, one call in 700 takes more than twice the usual tokens. About 1 % of the lines is bad: truncated, plain text, or
of a wrong type. What was planted is written to OUT.json, so that whoever counts can be checked to the unit.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from time import gmtime, strftime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

START = 1_773_792_000  # 2026-03-18T00:00:00Z, the article's day; always in the past, as no line may be of the future
RATE = 50  # lines/s of its own time: no two have the same stamp, and so not the same bytes
SESSION = 50  # lines, on average
POOL = 4096  # of each kind of fragment; a power of two, so that a few random bits choose one
TEXT = (
    "kubernetes pod autoscaling best practices policy contract invoice customer refund order shipping latency error "
    "summary report quarterly revenue migration schema index vector search result passage document chapter agreement "
    "compliance audit finding token budget retry fallback queue worker deploy rollback incident Zürich café naïve "
    "配置 数据库 résumé señor größe übersicht"
)
WORDS = TEXT.split()
ROLES = ("research", "support", "billing", "planner", "coder", "review", "sales", "legal", "ops", "data")
ACTIONS = (
    "web_search", "llm_call", "read_document", "chat_completion", "query_database", "send_email", "delegate",
    "summarize", "fetch_url", "write_file", "run_tests", "create_ticket", "lookup_order", "translate", "classify",
    "extract_entities", "generate_report", "check_policy", "schedule_call", "update_crm",
)  # fmt: skip
PRICES = {
    "claude-sonnet-4-20250514": (3, 15),
    "gpt-4o-2024-08-06": (2.5, 10),
    "gpt-4o-mini": (0.15, 0.6),
    "claude-haiku-4-5": (1, 5),
    "gemini-2.5-pro": (1.25, 10),
    "llama-3.3-70b-instruct": (0.1, 0.3),
}
"""US dollars for a million tokens, prompt and completion."""
TASKS = ("default", "research", "support", "batch_report")
ERRORS = ("RateLimitError", "APITimeoutError", "ToolNotFound", "ValidationError", "ConnectionError")


class Style:
    """How an agent writes JSON, and fragments written so."""

    def __init__(self, rng: random.Random, *, compact: bool) -> None:
        self.compact = compact
        self.comma = "," if compact else ", "
        self.inputs = [self._dump(_input(rng)) for _ in range(POOL)]
        self.outputs = [self._dump(_output(rng)) for _ in range(POOL)]
        self.failures = [self._dump(_failure(rng)) for _ in range(256)]
        tokens = [_tokens(rng) for _ in range(POOL)]
        self.tokens = [(self._dump(each), each["prompt"], each["completion"], each["cost_usd"]) for each in tokens]
        self.durations = [self._dump(round(rng.lognormvariate(6.5, 1.2), rng.choice((0, 1))) or 1) for _ in range(POOL)]
        self.statuses = {status: self.pair("status", status) for status in ("success", "error", "timeout")}
        self.input, self.output = self.key("input"), self.key("output")
        self.token, self.duration = self.key("tokens"), self.key("duration_ms")

    def key(self, name: str) -> str:
        return f'{self.comma}"{name}":{"" if self.compact else " "}'

    def pair(self, name: str, value: Any) -> str:
        return self.key(name) + self._dump(value)

    def _dump(self, value: Any) -> str:
        if self.compact:
            return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        return json.dumps(value)


class Session:
    """One session of one agent: the parts of a line that all its lines share."""

    def __init__(self, rng: random.Random, style: Style, agent: str, number: int, handed: tuple[str, str] | None):
        self.left = 1 + int(rng.expovariate(1 / (SESSION - 1)))
        name = f"sess_{number:06x}{rng.getrandbits(16):04x}"
        self.names = style.pair("agent_id", agent) + style.pair("session_id", name) + style.key("action")
        self.trace = handed[1] if handed else ("" if rng.random() < 0.1 else f"trace_{rng.getrandbits(32):08x}")
        self.traced = style.pair("parent_trace_id", self.trace) if self.trace else ""
        metadata: dict[str, Any] = {"retry_count": 0, "fallback_used": False}
        task = rng.choice(TASKS)
        if task != "default":
            metadata["task_type"] = task
        if handed:
            metadata["parent_agent_id"] = handed[0]
        self.metadata = style.pair("metadata", metadata)
        self.retried = style.pair("metadata", metadata | {"retry_count": rng.randint(1, 3), "fallback_used": True})
        self.end = style.pair("metadata", metadata | {"session_end": True, "task_completed": rng.random() < 0.9})


class Log:
    """Iterate over it for the lines, each with its newline; afterwards it knows what it planted."""

    def __init__(self, lines: int, *, seed: int = 1, agents: int = 200, actions: int = 20, rate: int = RATE) -> None:
        self.lines = lines
        self._rate = rate
        self.accepted = self.rejected = self.not_json = self.sessions = self.size = 0
        self.prompt = self.completion = self.failures = 0
        self.cost = 0.0
        self._rng = random.Random(seed)
        self._agents = agents
        self._actions = ACTIONS[:actions]

    def planted(self) -> dict[str, int | float]:
        return {
            "lines": self.lines, "bytes": self.size, "accepted": self.accepted, "rejected": self.rejected,
            "not_json": self.not_json,
            "sessions": self.sessions, "failures": self.failures, "prompt": self.prompt,
            "completion": self.completion, "cost_usd": round(self.cost, 4),
        }  # fmt: skip

    def __iter__(self) -> Iterator[bytes]:
        rng = self._rng
        styles = [Style(rng, compact=False), Style(rng, compact=True)]
        names = [f"{ROLES[i % len(ROLES)]}-agent-{i:03}" for i in range(self._agents)]
        agents = [(name, styles[i % 5 >= 3]) for i, name in enumerate(names)]
        agent_weights, action_weights = _zipf(len(agents)), _zipf(len(self._actions))
        quoted = [f'"{action}"' for action in self._actions]
        recent: list[tuple[str, str]] = []
        open_: list[Session | None] = [None] * (2 * len(agents))

        def begin(agent: int) -> Session:
            name, style = agents[agent]
            handed = rng.choice(recent) if recent and rng.random() < 0.4 else None
            if handed and handed[0] == name:
                handed = None
            session = Session(rng, style, name, self.sessions, handed)
            self.sessions += 1
            if session.trace:
                recent.append((name, session.trace))
                if len(recent) > 40:
                    del recent[0]
            return session

        digits = 3 if self._rate <= 1000 else 6
        before = -1
        block = 5000
        for first in range(0, self.lines, block):
            count = min(block, self.lines - first)
            who = rng.choices(range(len(agents)), cum_weights=agent_weights, k=count)
            what = rng.choices(quoted, cum_weights=action_weights, k=count)
            for index in range(count):
                second, micros = divmod((first + index) * 1_000_000 // self._rate, 1_000_000)
                if second != before:
                    before = second
                    stamp = strftime("%Y-%m-%dT%H:%M:%S", gmtime(START + second))
                bits = rng.getrandbits(96)
                agent = who[index]
                slot = 2 * agent + (bits & 1)
                session = open_[slot]
                if session is None:
                    session = open_[slot] = begin(agent)
                style = agents[agent][1]
                chance = (bits >> 1 & 0xFFFF) / 0x10000
                status = "success" if chance >= 0.03 else "error" if chance >= 0.005 else "timeout"
                space = "" if style.compact else " "
                parts = [f'{{"timestamp":{space}"{stamp}.{f"{micros:06}"[:digits]}Z"', session.names, what[index]]
                parts += style.input, style.inputs[bits >> 17 & 4095]
                chance = (bits >> 29 & 0xFFF) / 0x1000
                if status != "success":
                    parts += style.output, style.failures[bits >> 41 & 255]
                elif chance >= 0.02:
                    parts += style.output, style.outputs[bits >> 41 & 4095]
                tokens = style.tokens[bits >> 53 & 4095] if chance < 0.92 else None
                if tokens is not None:
                    parts += style.token, tokens[0]
                parts += style.duration, style.durations[bits >> 65 & 4095], session.traced, style.statuses[status]
                session.left -= 1
                chance = (bits >> 77 & 0x3FF) / 0x400
                if not session.left:
                    parts.append(session.end)
                    open_[slot] = None
                elif chance >= 0.05:
                    parts.append(session.metadata if chance >= 0.09 else session.retried)
                parts.append("}")
                line = "".join(parts).encode()
                if bits >> 87 < 5:  # of 512: about 1 %
                    chance = rng.random()
                    line = _spoil(rng, line, chance)
                    self.rejected += 1
                    self.not_json += chance < 0.8
                else:
                    self.accepted += 1
                    self.failures += status != "success"
                    if tokens is not None:
                        self.prompt += tokens[1]
                        self.completion += tokens[2]
                        self.cost += tokens[3]
                self.size += len(line) + 1
                yield line + b"\n"


def _zipf(count: int) -> list[float]:
    total, weights = 0.0, []
    for rank in range(1, count + 1):
        total += 1 / rank
        weights.append(total)
    return weights


def _spoil(rng: random.Random, line: bytes, kind: float) -> bytes:
    if kind < 0.5:
        return line[: rng.randint(20, len(line) - 2)]
    if kind < 0.8:
        return f"{rng.choice(('INFO', 'WARN', 'Traceback'))} worker {rng.getrandbits(32)}: {_text(rng, 8)}".encode()
    space = b" " if b'": ' in line else b""
    return line.replace(b'"duration_ms":' + space, b'"duration_ms":' + space + b'"slow", "was":', 1)


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def _input(rng: random.Random) -> dict[str, Any]:
    return {"query": _text(rng, rng.randint(5, 16)), "source": rng.choice(("task_queue", "user", "cron")), "page": 1}


def _output(rng: random.Random) -> dict[str, Any]:
    return {
        "results_count": rng.randint(0, 50),
        "selected": rng.randint(0, 5),
        "text": _text(rng, rng.randint(6, 26)),
        "confidence": round(rng.betavariate(8, 2), 2),
    }


def _failure(rng: random.Random) -> dict[str, Any]:
    return {"error": {"type": rng.choice(ERRORS), "message": _text(rng, 6)}, "confidence": round(rng.random() / 2, 2)}


def _tokens(rng: random.Random) -> dict[str, Any]:
    """About as many each time, as calls of one kind take."""
    prompt, completion = round(rng.lognormvariate(6, 0.3)), round(rng.lognormvariate(5, 0.3))
    model = rng.choice(list(PRICES))
    price = PRICES[model]
    cost_usd = round((prompt * price[0] + completion * price[1]) / 1e6, 6)
    return {"prompt": prompt, "completion": completion, "model": model, "cost_usd": cost_usd}


def write(lines: int, out: Path, *, seed: int = 1, rate: int = RATE) -> dict[str, int | float]:
    """Write the log and what was planted in it; give the latter."""
    log = Log(lines, seed=seed, rate=rate)
    with out.open("wb") as file:
        file.writelines(log)
    planted = log.planted()
    out.with_name(out.name + ".json").write_text(json.dumps(planted) + "\n")
    return planted


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a log to measure with.")
    parser.add_argument("lines", type=int, metavar="LINES")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=int, default=RATE, help="lines a second of its own time; default: %(default)s")
    options = parser.parse_args()
    planted = write(options.lines, options.out, seed=options.seed, rate=options.rate)
    print(json.dumps(planted | {"mean_bytes": round(planted["bytes"] / max(1, options.lines), 1)}, indent=1))


if __name__ == "__main__":
    main()

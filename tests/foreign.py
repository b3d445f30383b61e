"""Logs as other programs write them, with contents of our own, and the totals that they must come to."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import count

from agent_exporter.formats.chosen import Choice
from agent_exporter.records import read

BEGIN = datetime(2026, 3, 18, 9, 0, tzinfo=UTC)


class Clock:
    """Each line is some seconds after the one before it."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self, seconds: float = 1.0) -> str:
        self.now += timedelta(seconds=seconds)
        return self.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text(rows) -> bytes:
    """Of a file."""
    return b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\n" for row in rows)


def uuid(number: int, kind: int = 0) -> str:
    return f"{kind:08x}-1111-4222-8333-{number:012x}"


class Claude:
    """One file. `totals` is what the program would report: prompt and completion tokens."""

    def __init__(
        self,
        session: int = 1,
        clock: Clock | None = None,
        agent: str | None = None,
        role: str | None = None,
        entrypoint: str = "cli",
    ):
        self.session, self.agent, self.role = uuid(session, 0xC1), agent, role
        self.clock = clock or Clock()
        self.entrypoint = entrypoint
        self.rows: list[dict] = []
        self.totals = [0, 0]
        self._numbers = count(1)

    def _name(self, kind: str) -> str:
        return f"{kind}_{self.session[-2:]}{self.agent or 'm'}{next(self._numbers):04d}"

    def line(self, kind: str, **more) -> dict:
        base = {
            "type": kind,
            "uuid": self._name("u"),
            "parentUuid": None,
            "isSidechain": self.agent is not None,
            "sessionId": self.session,
            "timestamp": self.clock(),
            "entrypoint": self.entrypoint,
            "cwd": "/srv/shop",
        }
        base |= {"agentId": self.agent} if self.agent else {}
        base |= {"attributionAgent": self.role} if self.role and kind == "assistant" else {}
        self.rows.append(base | more)
        return self.rows[-1]

    def ask(self, words: str = "Mend the till.") -> None:
        self.line("user", message={"role": "user", "content": words})

    def answer(
        self,
        *blocks: dict,
        fresh: int = 10,
        written: int = 200,
        read: int = 3000,
        out: int = 50,
        stop: str | None = None,
        model: str = "claude-sonnet-4-5",
        early: int | None = None,
    ) -> list[str]:
        """One call of the model: a line for each block, all with its usage. Returns the ids of the tools that it calls."""
        message = self._name("msg")
        calls = []
        stop = stop or ("tool_use" if any(block["type"] == "tool_use" for block in blocks) else "end_turn")
        for number, block in enumerate(blocks):
            if block["type"] == "tool_use":
                calls.append(self._name("toolu"))
            reported = early if early is not None and number < len(blocks) - 1 else out
            usage = {
                "input_tokens": fresh,
                "cache_creation_input_tokens": written,
                "cache_read_input_tokens": read,
                "output_tokens": reported,
            }
            self.line(
                "assistant",
                requestId=f"req_{message}",
                message={
                    "id": message,
                    "type": "message",
                    "role": "assistant",
                    "model": model,
                    "content": [block | ({"id": calls[-1]} if block["type"] == "tool_use" else {})],
                    "stop_reason": stop,
                    "usage": usage,
                },
            )
        self.totals[0] += fresh + written + read
        self.totals[1] += out
        return calls

    def result(self, call: str, content="done", error: bool = False, **more) -> None:
        block = {"type": "tool_result", "tool_use_id": call, "content": content} | ({"is_error": True} if error else {})
        self.line("user", message={"role": "user", "content": [block]}, **more)

    def fork(self, session: int) -> Claude:
        """The history again under another session; what was counted in it is not counted again."""
        fork = Claude(session, self.clock)
        fork.rows = [{**row, "sessionId": fork.session} for row in self.rows]
        return fork

    def fork_of_a_run(self, session: int) -> Claude:
        """The same of `claude -p`, whose first prompt stands before the history."""
        self.clock(5)
        fork = self.fork(session)
        prompt = {
            "type": "queue-operation",
            "operation": "enqueue",
            "sessionId": fork.session,
            "timestamp": self.clock(),
        }
        fork.rows.insert(0, prompt)
        return fork


def tool(name: str = "Bash", **given) -> dict:
    return {"type": "tool_use", "name": name, "input": given or {"command": "make check"}}


def words(content: str = "I see.") -> dict:
    return {"type": "text", "text": content}


def shop(entrypoint: str = "cli") -> tuple[Claude, Claude]:
    """A session with a failing tool, a failed call and a sub-agent; and the sub-agent."""
    main = Claude(entrypoint=entrypoint)
    main.rows.append(
        {"type": "queue-operation", "operation": "enqueue", "sessionId": main.session, "timestamp": main.clock()}
    )
    main.ask()
    [call] = main.answer(words(), tool())
    main.result(call, "Exit code 2\n3 of 40 failed", error=True)
    [call] = main.answer(tool("Agent", prompt="Look for the rounding"))
    sub = Claude(clock=main.clock, agent="a1b2", role="Explore", entrypoint=entrypoint)
    sub.ask("Look for the rounding")
    [found] = sub.answer(tool("Grep", pattern="round"), model="claude-haiku-4-5")
    sub.result(found, "till.py:12")
    sub.answer(words("In till.py"), model="claude-haiku-4-5")
    main.result(call, [words("In till.py")], toolUseResult={"agentId": "a1b2", "totalDurationMs": 4200})
    main.line(
        "assistant",
        isApiErrorMessage=True,
        error="rate_limit",
        message={
            "id": "0000",
            "role": "assistant",
            "model": "<synthetic>",
            "content": [words("API Error: 429")],
            "usage": {"input_tokens": 0, "output_tokens": 0},
        },
    )
    main.answer(words("Mended."))
    main.rows.append({"type": "last-prompt", "sessionId": main.session, "lastPrompt": "Mend the till."})
    return main, sub


class Codex:
    """One rollout since 0.163, or before it. `totals` is what its calls took."""

    def __init__(
        self, thread: int = 1, *, old: bool = False, clock: Clock | None = None, total=None, source="cli", **meta
    ):
        self.thread = uuid(thread, 0xC0)
        self.clock = clock or Clock()
        self.old = old
        self.rows: list[dict] = []
        self.totals = [0, 0]
        self.total = list(total or (0, 0))
        """Of the lineage, as the running totals have it."""
        self._numbers = count(1)
        meta = {"id": self.thread, "timestamp": self.clock(0), "source": source, "cwd": "/srv/api"} | meta
        self.line("session_meta", **({} if old else {"session_id": self.thread}) | meta)

    @property
    def name(self) -> str:
        return f"rollout-2026-03-18T09-00-00-{self.thread}.jsonl"

    def line(self, kind: str, **payload) -> None:
        self.rows.append({"timestamp": self.clock(), "type": kind, "payload": payload})

    def turn(self, model: str = "gpt-5.1-codex") -> str:
        name = f"turn-{self.thread[-2:]}-{next(self._numbers)}"
        self.line("event_msg", type="task_started", turn_id=name, started_at=int(self.clock.now.timestamp()))
        self.line("turn_context", turn_id=name, model=model)
        return name

    def call(self, command: str = "make check", *, code: int = 0) -> None:
        """A tool, from its start to its end."""
        name = f"call_{self.thread[-2:]}{next(self._numbers)}"
        self.line(
            "response_item",
            type="function_call",
            name="exec_command",
            arguments=json.dumps({"cmd": command}),
            call_id=name,
        )
        self.line(
            "response_item",
            type="function_call_output",
            call_id=name,
            output=f"Chunk ID: {next(self._numbers):06x}\nWall time: 1.5000 seconds\nProcess exited with code {code}\nOutput:\nas it is\n",
        )

    def answer(self, given: int = 9000, cached: int = 4000, out: int = 150, again: int = 1) -> None:
        """One call of the model; its totals are repeated `again` times more, as with each change of the limits."""
        self.totals = [self.totals[0] + given, self.totals[1] + out]
        self.total = [self.total[0] + given, self.total[1] + out]
        last = {
            "input_tokens": given,
            "cached_input_tokens": cached,
            "output_tokens": out,
            "reasoning_output_tokens": 20,
        }
        total = {
            "input_tokens": self.total[0],
            "cached_input_tokens": cached,
            "output_tokens": self.total[1],
            "reasoning_output_tokens": 20,
        }
        if not self.old:
            self.line(
                "token_usage_record",
                thread_id=self.thread,
                response_id=f"resp_{self.thread[-2:]}{next(self._numbers)}",
                usage=last,
                thread_token_usage=total,
            )
        for _ in range(1 + again):
            self.line("event_msg", type="token_count", info={"total_token_usage": total, "last_token_usage": last})

    def end(self, turn: str) -> None:
        self.line("event_msg", type="task_complete", turn_id=turn, duration_ms=5000)

    def fork(self, thread: int) -> Codex:
        """Since 0.163 nothing is copied, and totals go on; before it all is copied, under new times."""
        if not self.old:
            return Codex(thread, clock=self.clock, total=self.total)
        self.clock(60)
        fork = Codex(thread, old=True, clock=self.clock, total=self.total, forked_from_id=self.thread)
        fork.rows += [{**row, "timestamp": self.clock(0.001)} for row in self.rows]
        self.clock(60)
        return fork


def api(*, old: bool = False) -> list[Codex]:
    """A thread of two turns, and a fork of it."""
    first = Codex(old=old)
    turn = first.turn()
    first.call(code=3)
    first.answer()
    first.call()
    first.answer(9500, again=2)
    first.end(turn)
    fork = first.fork(2)
    turn = fork.turn()
    fork.answer(10_500)
    fork.end(turn)
    turn = first.turn()
    first.answer(9800)
    first.end(turn)
    return [first, fork]


class Pi:
    """One session of pi or OpenClaw. `totals` is what `sessions.json` would report: prompt with cache, completion."""

    def __init__(self, session: int = 1, clock: Clock | None = None):
        self.session = uuid(session, 0xF1)
        self.clock = clock or Clock()
        self.totals = [0, 0]
        self.cost = 0.0
        self._numbers = count(1)
        self.rows: list[dict] = [
            {"type": "session", "version": 3, "id": self.session, "timestamp": self.clock(), "cwd": "/srv/shop"}
        ]
        self.entry("model_change", provider="anthropic", modelId="claude-sonnet-4-5")

    def entry(self, kind: str, **more) -> None:
        number = next(self._numbers)
        row = {"type": kind, "id": f"{number:04x}{self.session[-4:]}", "parentId": None, "timestamp": self.clock()}
        self.rows.append(row | more)

    def message(self, role: str, seconds: float = 2.0, **more) -> None:
        """An entry that is written when the message is complete, `seconds` after its own time."""
        began = int(self.clock.now.timestamp() * 1000)
        self.clock(seconds - 1)
        self.entry("message", message={"role": role, "timestamp": began} | more)

    def answer(
        self, *blocks: dict, fresh: int = 40, read: int = 9000, written: int = 60, out: int = 30, **more
    ) -> None:
        usage = {"input": fresh, "output": out, "cacheRead": read, "cacheWrite": written, "cost": {"total": 0.01}}
        said = {"content": list(blocks), "model": "claude-sonnet-4-5", "usage": usage, "stopReason": "stop"}
        self.message("assistant", **said | more)
        self.totals = [self.totals[0] + fresh + read + written, self.totals[1] + out]
        self.cost += 0.01

    def result(self, call: str, name: str = "exec", said: str = "done", *, error: bool = False, **details) -> None:
        content = [{"type": "text", "text": said}]
        more = {"toolCallId": call, "toolName": name, "content": content, "isError": error, "details": details}
        self.message("toolResult", **more)

    def branch(self, session: int) -> Pi:
        """A new session that begins with the entries of this one."""
        branch = Pi(session, self.clock)
        branch.rows = branch.rows[:1] + self.rows[1:]
        branch._numbers = count(0x1000)
        return branch


def call(number: int, name: str = "exec", **given) -> dict:
    return {"type": "toolCall", "id": f"call_{number}", "name": name, "arguments": given or {"command": "make"}}


def written(folder, **files) -> list[str]:
    """The files, in the order of the arguments; `name__x` is name.x."""
    paths = []
    for name, rows in files.items():
        path = folder / f"{name}.jsonl"
        path.write_bytes(rows if isinstance(rows, bytes) else text(rows))
        paths.append(str(path))
    return paths


def actions(*streams, format_=None, paths=None) -> list:
    """What streams become, read one after the other."""
    choice = Choice.named(format_)
    found = []
    for number, rows in enumerate(streams):
        stream = choice.new(paths[number] if paths else "")
        data = rows if isinstance(rows, bytes) else text(rows)
        found += stream.feed(data.splitlines()).lines
    return [read(each) for each in found]


def tokens(found) -> list[int]:
    """Prompt and completion of all."""
    some = [action.tokens for action in found if action.tokens]
    return [sum(each.prompt or 0 for each in some), sum(each.completion or 0 for each in some)]


def outcomes(found) -> Counter:
    return Counter((action.agent_id, action.action, action.status, action.error_type) for action in found)

"""Logs of agentlog's that tests read back: a clock that stands still, a stream, and the exporter's view of the lines."""

from __future__ import annotations

import asyncio
import io
import itertools
import json

from test_spans import Collector

from agent_exporter.action import Action, decode
from agentlog import AgentLogger, Clock

NOON = 1_773_835_200.0
"""2026-03-18T12:00:00Z."""


class Hands:
    """The hands of a clock that moves only when it is told to, or slept on."""

    def __init__(self) -> None:
        self.at = NOON
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)

    def clock(self) -> Clock:
        return Clock(now=lambda: self.at, monotonic=lambda: self.at, sleep=self.sleep, asleep=self.asleep)


def ticking() -> Clock:
    """A clock that goes on by a millisecond with every look at it: no two lines are of the same time."""
    ticks = itertools.count(round(NOON * 1000))
    return Clock(now=lambda: next(ticks) / 1000, monotonic=lambda: next(ticks) / 1000)


class Log(AgentLogger):
    """An agent's log to a text in memory; `lines` are those written so far, each accepted by the exporter."""

    def __init__(self, agent_id: str = "planner", **options) -> None:
        self.hands = Hands()
        self.text = io.StringIO()
        super().__init__(agent_id, stream=self.text, **{"clock": self.hands.clock()} | options)

    def raw(self) -> list[bytes]:
        self.flush()
        raw = self.text.getvalue().encode().splitlines()
        assert [fault for fault in map(decode, raw) if not isinstance(fault, Action)] == []
        return raw

    def lines(self) -> list[dict]:
        """As dicts. Span ids are random: they are looked at, and taken out."""
        lines = [json.loads(line) for line in self.raw()]
        span_ids = [line.pop("span_id") for line in lines if "span_id" in line]
        assert len(set(span_ids)) == len(span_ids)
        return lines

    def tree(self) -> str:
        """What the exporter draws of it; fails if that is not one tree."""
        return tree(self.raw())


def tree(lines: list[bytes]) -> str:
    """One connected tree, as text."""
    return Collector().feed(lines).finish().drawing()


def told(lines: list[dict], *fields: str) -> list[tuple]:
    """Some fields of each line."""
    return [tuple(line.get(field) for field in fields) for line in lines]

"""Three past weeks, by the timestamps of their lines: a drift cannot be shown in a minute.

writer-01 is as good as reviewer-01 for its first week. Then its confidence falls from day to day, more of its tasks
come to nothing and its readers like it less. No line of it is an error.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from agentlog import AgentLogger, Clock

if TYPE_CHECKING:
    from pathlib import Path

DAYS = 21
HEALTHY_DAYS = 7
"""The exporter's baseline is the first seven UTC days of an agent."""
EVERY = 1_800.0
"""Seconds between two tasks of an agent."""
DRIFTED = (0.40, 0.56)
"""Confidence at the end, from and to; a healthy agent's is fleet.SURE."""
FLUSH = 100
"""Tasks after which the writer is waited for: its queue is bounded, and nothing here takes time."""


def write(path: Path, until: float, seed: int | None = None) -> None:
    """Write the log of DAYS full UTC days to a file, up to the last midnight before `until`, seconds since 1970.

    Full days, so that none of it counts as spent today.
    """
    chance = random.Random(seed)  # noqa: S311  (it draws a demo)
    midnight = until // 86_400 * 86_400
    now = start = midnight - DAYS * 86_400

    def clock() -> float:
        return now

    logs = [
        AgentLogger(agent, team="research", path=path, clock=Clock(now=clock, monotonic=clock))
        for agent in ("writer-01", "reviewer-01")
    ]
    number = 0
    while now < midnight - EVERY:
        day = (now - start) / 86_400
        for log in logs:
            worse = max(0.0, day - HEALTHY_DAYS) / (DAYS - HEALTHY_DAYS) if log.agent_id == "writer-01" else 0.0
            number += 1
            with log.session(task_type="research", task=f"past-{number}") as s:
                with s.action("llm_call", input={"task": number}) as a:
                    now += chance.uniform(1, 3)
                    a.tokens(prompt=chance.randrange(1_000, 1_500), completion=chance.randrange(150, 650))
                    a.confidence = round(chance.uniform(0.78, 0.96) - 0.39 * worse, 2)
                    a.output = {"text": f"draft {number}"}
                s.feedback(chance.uniform(0.2, 1.0) - 1.0 * worse)
                s.completed(chance.random() < 0.96 - 0.5 * worse)
            if number % FLUSH == 0:
                log.flush()
        now += chance.uniform(0.8, 1.2) * EVERY
    for log in logs:
        log.flush()

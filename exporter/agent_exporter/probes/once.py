"""All checks of some agents, now: `agent-exporter probe` prints the same as the article's script, with durations."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agent_exporter.probes.check import perform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_exporter.probes.check import Result
    from agent_exporter.probes.settings import Check


async def probe(agents: Sequence[Sequence[Check]]) -> list[dict[str, Any]]:
    """A document for each agent's checks. Raises RequestError.

    The checks of one agent run one after the other, as in the article, so that they do not slow each other down. Agents
    are checked at the same time.
    """
    return await asyncio.gather(*map(_probe, agents))


async def _probe(checks: Sequence[Check]) -> dict[str, Any]:
    began = datetime.now(UTC)
    return _document(began, [await perform(check) for check in checks])


def _document(began: datetime, results: Sequence[Result]) -> dict[str, Any]:
    return {
        "timestamp": f"{began:%Y-%m-%dT%H:%M:%SZ}",
        "agent_id": results[0].agent,
        "checks": {
            result.name: {"passed": result.passed, "duration_ms": round(result.seconds * 1000, 1)}
            | ({} if result.why is None else {"why": result.why})
            for result in results
        },
        "healthy": all(result.passed for result in results),
    }

"""What the detectors find in some lines of a log. `run` and `backtest` use the same detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_exporter.detectors import Detectors, cascade
from agent_exporter.sessions import Session, Sessions
from agent_exporter.stage import Chain, Reading

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_exporter.action import Action
    from agent_exporter.config import Config
    from agent_exporter.detectors.finding import Finding


def findings(config: Config, actions: Iterable[Action]) -> tuple[list[Finding], dict[int, Session]]:
    """All findings, in order of their time, and the session of each action, by the `id` of the action.

    `actions` are in order of their time, each once, heartbeats among them.
    """
    session_of: dict[int, Session] = {}
    found: list[Finding] = []

    def closed(session: Session) -> None:
        detectors.flush(session)

    sessions = Sessions(
        lambda task_type: config.task_type(task_type).idle_timeout,
        lambda _: None,
        closed,
        reorder=config.detectors.reorder_window,
        longest_call=lambda name: config.agent(name).max_action_duration,
    )
    detectors = Detectors(config, sessions, found.append, live=False)
    chain = Chain(sessions, [sessions, detectors])
    reading = Reading()
    for action in actions:
        reading.now = action.at
        chain.take(action, reading)
        if (session := sessions.get(action.agent_id, action.session_id)) is not None:
            session_of[id(action)] = session
        sessions.thin(action.at)
    chain.finish(reading.now)
    found = [finding for finding in found if finding.kind != cascade.MEMBER]
    found.sort(key=lambda finding: (finding.at, finding.to_json()))
    return found, session_of

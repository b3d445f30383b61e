"""GET /v1/sessions/{id}/budget: the rest of a session's budget, so that an agent stops before a call and not after it.

    GET /v1/sessions/sess_8f2a1b/budget?agent_id=research-agent-01&task_type=batch
    {"agent_id":"research-agent-01","session_id":"sess_8f2a1b","task_type":"batch","tokens":{"used":41200,"max":50000,
     "left":8800},"cost_usd":null,"enforced":true,"stop":false}

Under the same token as /v1/logs. The sums are those of the lines read so far: some 0.1 s old, and without the calls
that are on their way. A session without lines so far has all of its budget. `enforced` is whether the breaker stops
sessions over their budget now; if it does not, `stop` is true only for a session that the breaker stopped before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from agent_exporter.breaker.account import Account, account
from agent_exporter.server.handlers import Handler, Refusal, ServerContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_exporter.config import Config
    from agent_exporter.sessions import Sessions

MAX_ID = 256
"""Characters of an id in a query; longer ones match no session."""


def budget(
    sessions: Sessions,
    config: Config,
    session_id: str,
    agent_id: str | None,
    task_type: str,
    enforces: Callable[[str], bool],
) -> dict[str, Any]:
    """What a session has used and has left. Called from any thread. Raises LookupError with a sentence.

    enforces: whether sessions of an agent that are over their budget are stopped now.
    """
    session = None
    if agent_id is not None:
        session = sessions.get(agent_id, session_id)
    else:
        found = [known for known in list(sessions.everyone()) if known.session_id == session_id and not known.closed]
        if len(found) > 1:
            raise LookupError("several agents have a session of this id: add ?agent_id=NAME")
        session = found[0] if found else None
    if session is not None and session.closed and not session.terminated:
        session = None  # what comes under its name now is counted anew
    if session is None:
        task = config.task_type(task_type)
        spent = Account(task_type, 0, 0.0, task.session_tokens, task.session_cost_usd)
    else:
        vouched = config.agent(session.agent_id).trusted_sources is not None
        spent = account(session, config, vouched=vouched, asked=task_type)
    whose = agent_id if session is None else session.agent_id
    enforced = enforces(whose or "")
    return {
        "agent_id": whose,
        "session_id": session_id,
        "task_type": spent.task_type,
        "tokens": _left(spent.tokens, spent.max_tokens),
        "cost_usd": None if spent.max_cost_usd is None else _left(spent.cost_usd, spent.max_cost_usd),
        "enforced": enforced,
        "stop": (enforced and spent.excess is not None) or (session is not None and session.terminated),
    }


def _left(used: float, most: float) -> dict[str, float]:
    return {"used": used, "max": most, "left": max(0, most - used)}


class Budget(Handler):
    """Handler with the same access rules as /v1/logs."""

    server: ServerContext

    def prepare(self) -> None:
        super().prepare()
        if self.server.token is None and not self.server.loopback:
            raise Refusal(403, "requests from other machines need server.token_file")

    def get(self, session_id: str) -> None:
        """One session."""
        agent_id = self.get_query_argument("agent_id", None)
        task_type = self.get_query_argument("task_type", "default")
        if any(len(name or "") > MAX_ID for name in (session_id, agent_id, task_type)):
            raise Refusal(400, f"an id has at most {MAX_ID} characters")
        try:
            answer = self.server.budget(session_id, agent_id, task_type)
        except LookupError as error:
            raise Refusal(409, str(error.args[0])) from error
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode(answer))

"""agentlog: an agent imports it to write the log that agent-exporter reads.

    from agentlog import AgentLogger

    log = AgentLogger("research-agent-01", team="research")
    with log.session(task_type="research") as s, s.action("web_search", input={"query": "pods"}) as a:
        a.output = {"results": 8}

The way of a line through the modules: a `logger` makes `session`s, a session makes `action`s (also from `calls` of
functions and `attempts`), an action becomes a `record` that fits the schema, and the `writer` writes it to a stream or
file. `handoff` passes a task to the next agent, `heartbeat` sends signs of life, `budget` asks the exporter, `settings`
checks an author's settings, `errors` has what guards raise, `clock` the time. `langchain`, `openai_agents` and
`opentelemetry` log existing agents; each imports its framework only when it is imported itself.
"""

from agentlog.action import Action, current_action
from agentlog.clock import Clock
from agentlog.errors import BudgetExceeded, RetriesExhausted
from agentlog.heartbeat import Heartbeats
from agentlog.logger import AgentLogger
from agentlog.session import Session, current_session

__all__ = [
    "Action",
    "AgentLogger",
    "BudgetExceeded",
    "Clock",
    "Heartbeats",
    "RetriesExhausted",
    "Session",
    "current_action",
    "current_session",
]
__version__ = "0.1.0"

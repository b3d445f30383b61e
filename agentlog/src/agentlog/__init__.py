"""agentlog: what an agent imports to write the log that agent-exporter reads.

    from agentlog import AgentLogger

    log = AgentLogger("research-agent-01", team="research")
    with log.session(task_type="research") as s, s.action("web_search", input={"query": "pods"}) as a:
        a.output = {"results": 8}

The folder listing is the way of a line: `logger` and its `session`s, whose `action`s (`calls` of functions, `attempts`)
become a `record` that the schema allows, which the `writer` takes to a stream or file. `handoff` is what the next agent
is told, `heartbeat` a sign of life, `budget` what the exporter is asked, `settings` what an author may set, `errors`
what guards raise, `clock` the time. `langchain`, `openai_agents` and `opentelemetry` are ways in for agents that exist
already, and import their framework only when they are imported.
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

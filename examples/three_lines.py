"""The first three lines: an agent that logs one action to standard output.

python examples/three_lines.py | agent-exporter validate -
"""

from agentlog import AgentLogger

log = AgentLogger("research-agent-01", team="research")
with log.session(task_type="research") as s, s.action("web_search", input={"query": "pod autoscaling"}) as a:
    a.output = {"results": 8}

from agentlog import AgentLogger

log = AgentLogger("research-agent-01", team="research")
with log.session(task_type="research") as s, s.action("web_search", input={"query": "pods"}) as a:
    a.output = {"results": 8}

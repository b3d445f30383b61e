"""What several boards have in common: where links lead, what is marked on graphs, what states are called."""

from __future__ import annotations

from typing import Any

from dashboards.panels import (
    BAD,
    COLORED,
    GOOD,
    QUIET,
    WARN,
    Json,
    annotation,
    column,
    constant,
    goes_to,
    link,
    now,
    stat,
    table,
    thresholds,
    variable,
    words,
)  # fmt: skip

OVERVIEW, TEAM, AGENT, TRACES, BUDGET, EXPORTER = (
    "agent-overview", "agent-team", "agent-detail", "agent-traces", "agent-budget", "agent-exporter",
)  # fmt: skip
TITLES = {
    OVERVIEW: "Agents: overview",
    TEAM: "Agents: team",
    AGENT: "Agents: one agent",
    TRACES: "Agents: traces",
    BUDGET: "Agents: budgets and cost",
    EXPORTER: "Agents: the exporter itself",
}

TO_AGENT = link(
    "Show this agent", f"/d/{AGENT}?var-agent_id=${{__field.labels.agent_id:percentencode}}&${{__url_time_range}}"
)
ROW_TO_AGENT = link(
    "Show this agent", f"/d/{AGENT}?var-agent_id=${{__data.fields.agent_id:percentencode}}&${{__url_time_range}}"
)
ROW_TO_TRACES = link(
    "Its traces", f"/d/{TRACES}?var-agent_id=${{__data.fields.agent_id:percentencode}}&${{__url_time_range}}"
)
ROW_TO_TEAM = link("Show this team", f"/d/{TEAM}?var-team=${{__data.fields.team:percentencode}}&${{__url_time_range}}")
AGENT_COLUMN = {"agent_id": {"displayName": "Agent", "custom.width": 130, "links": [ROW_TO_AGENT, ROW_TO_TRACES]}}

TEAM_CHOICE = variable("team", "Team", 'label_values(agent_info{agent_id!="_overflow"}, team)')

STANDING = """max by (agent_id) (ALERTS{alertstate="firing", severity="critical", agent_id!=""} * 0 + 3)
  or max by (agent_id) (ALERTS{alertstate="firing", severity="warning", agent_id!=""} * 0 + 2)
  or max by (agent_id) (agent_quiet_hours == 1) * 0
  or max by (agent_id) (agent_info)"""
"""An agent's worst alert as a number; WORST_SAID has the words, with the marks of the status page."""
WORST_SAID = words(
    {3: ("▲ page", BAD), 2: ("◆ warning", WARN), 1: ("● well", GOOD), 0: ("○ quiet by plan", QUIET)},
)

NONE_IS_WELL = thresholds((None, GOOD), (1, BAD))


def troubled(title: str, description: str, query: str, **options: Any) -> Json:
    """How many agents are in some trouble: one is bad, none is said in a word."""
    none = words({0: ("● none", GOOD)})
    return stat(title, description, "none", now(query), limits=NONE_IS_WELL, mappings=none, **options)


RUNBOOKS = constant("runbooks", "http://127.0.0.1:9090/user")
"""Where runbooks are served, as `external_labels` in alert_rules/prometheus.yml has it."""


def alerts(title: str, description: str, labels: str, *by: str, **options: Any) -> Json:
    """Alerts that are firing or about to, the gravest first; a click on one opens its runbook.

    Not Grafana's own alert list: from there a rule's runbook is no link but the template that makes it.
    """
    which = ", ".join(("alertname", "severity", "alertstate", *by))
    since = ", ".join(("alertname", "severity", *by))
    expr = (
        f"max by ({which}) (ALERTS{{{labels}}}) * on ({since}) group_left () "
        f"(time() - max by ({since}) (ALERTS_FOR_STATE{{{labels}}}))"
    )
    runbook = {**link("What to do", "${runbooks}/${__data.fields.alertname}.md"), "targetBlank": True}
    severities = words({"critical": ("▲ page", BAD), "warning": ("◆ warning", WARN)})
    return table(
        title,
        description,
        {"For": (column(expr), "s", {"decimals": 0, "custom.width": 90})},
        by=("alertname", *by, "severity", "alertstate"),
        sort="Severity",
        least_first=True,
        keys={
            **(AGENT_COLUMN if "agent_id" in by else {}),
            "alertname": {"displayName": "Alert", "links": [runbook]},
            "team": {"displayName": "Team", "custom.width": 130},
            "severity": {"displayName": "Severity", "mappings": severities, "custom.width": 100, **COLORED},
            "alertstate": {"displayName": "State", "custom.width": 80},
        },
        **options,
    )


SHARE_OF_BUDGET = thresholds((None, GOOD), (0.8, WARN), (1, BAD))
"""The lines of the rules: a word at 80 %, a page beyond it all."""


def marks(who: str = "", *, where: str = "") -> list[Json]:
    """What is marked on every graph: of the agents that the matcher `who` selects, and that `where` leaves over.

    A model or a team is one mark, however many agents it concerns, and at its minute: what lasts is a band, and twenty
    bands hide the graph. Who they are is for the overview to say.
    """
    labels = 'alertstate="firing", severity="critical"' + (who and f", {who}")
    chosen, where = who and f"{{{who}}}", where and f" {where}"
    tokens, before = (f"agent_tokens_total{chosen}{when}{where}" for when in ("", " offset 1m"))
    return [
        annotation(
            "Critical alerts",
            f"ALERTS{{{labels}}}{where} unless ALERTS{{{labels}}} offset 1m",
            "{{alertname}}",
            "began for {{agent_id}}",
            BAD,
        ),
        # Neither where there was nothing a minute before: then it is the exporter that is back, or the agent that is new.
        annotation(
            "New model",
            f"(count by (model) ({tokens}) unless on (model) count by (model) ({before})) and on () count({before})",
            "New model: {{model}}",
            "none of the agents shown here used it a minute before",
            "#5794f2",
        ),
        annotation(
            "New agents",
            f"count by (team) (max by (agent_id, team) (agent_info{chosen}{where}) "
            "unless on (agent_id, team) max by (agent_id, team) (agent_info offset 1m)) "
            "and on () count(agent_info offset 1m)",
            "New agents",
            "in team {{team}}; the overview has their names",
            "#5794f2",
        ),
        annotation(
            "Exporter deployed",
            'changes(process_start_time_seconds{job="agent-exporter"}[2m]) > 0',
            "Exporter restarted",
            "{{instance}}",
            QUIET,
        ),
    ]


def links_but(here: str) -> list[dict[str, object]]:
    """To every other board, with what is chosen and the time range."""
    return [goes_to(uid, title.removeprefix("Agents: ").capitalize()) for uid, title in TITLES.items() if uid != here]

"""Tasks as trees: search, who hands over to whom, loops and cascades by query, and one trace in full."""

from __future__ import annotations

from dashboards.panels import (
    BAD,
    GOOD,
    Json,
    board,
    found,
    given,
    graph,
    prom,
    service_map,
    thresholds,
    timeseries,
    trace,
    tree,
    variable,
)
from dashboards.panels import traces as search
from dashboards.shared import TITLES, TRACES, links_but, marks

WHO = 'span.gen_ai.agent.name =~ "$agent_id"'
SESSION = 'span.gen_ai.conversation.id =~ ".*$session.*"'


ONE = "One trace: click it in a table below, or put its id into Trace and open this row"


def build() -> Json:
    """The board."""
    return board(
        TRACES,
        TITLES[TRACES],
        "Choose an agent or a session, click a trace, and read it alone. From a span, the buttons lead to its log "
        "lines and its agent's metrics. Tempo does not search the newest half minute; a trace by its id is there at once.",
        (
            ONE,
            [
                tree(
                    "Trace $trace_id",
                    "The tree of one task: sessions, below them their actions, and findings as spans of no length.",
                    trace("$trace_id"),
                )
            ],
        ),
        (
            "What goes wrong?",
            [
                found(
                    "Loops",
                    "Traces in which an agent was found retrying, repeating itself, going in circles or over its time. The "
                    "finding is a span of its own, with its evidence.",
                    search(f'{{ span.agent.finding.kind = "loop" && {WHO} && {SESSION} }}'),
                ),
                found(
                    "Cascades",
                    "Traces in which three or more agents failed within a minute; the finding names the suspected root. Mend "
                    "that one first: the others are its victims.",
                    search(f'{{ span.agent.finding.kind = "cascade" && {WHO} }}'),
                ),
                found(
                    "Failures handed on",
                    "A failed action, and below the same task another agent's failed action: a cascade in the making, also with "
                    "fewer than three agents.",
                    search(
                        f'{{ span.gen_ai.operation.name = "invoke_agent" && span.agent.session.errors > 0 && {WHO} }} '
                        '>> { span.gen_ai.operation.name = "invoke_agent" && span.agent.session.errors > 0 }'
                    ),
                ),
                found(
                    "Over budget, or unusually many tokens",
                    "Traces with a session over the ceiling of its task type, or an action at twice its own average.",
                    search(f'{{ span.agent.finding.kind =~ "session_budget|action_anomaly" && {WHO} && {SESSION} }}'),
                ),
            ],
        ),
        (
            "Search",
            [
                found(
                    "Tasks",
                    "Everything that the chosen agents took part in, the newest first.",
                    search(f"{{ {WHO} && {SESSION} }}"),
                ),
                found(
                    "Failed actions",
                    "Actions that ended in error or timeout.",
                    search(f"{{ span.agent.action != nil && status = error && {WHO} && {SESSION} }}"),
                ),
                found(
                    "Many tokens",
                    "Sessions of over 20,000 tokens that have ended.",
                    search(
                        f'{{ span.gen_ai.operation.name = "invoke_agent" && span.agent.session.tokens > 20000 && {WHO} }}'
                    ),
                ),
                found(
                    "Long",
                    "Sessions of over half a minute that have ended.",
                    search(
                        f'{{ span.gen_ai.operation.name = "invoke_agent" && duration > 30s && {WHO} && {SESSION} }}'
                    ),
                ),
            ],
        ),
        (
            "Who hands over to whom?",
            [
                graph(
                    "Agents and handovers",
                    "An arrow is a handover that has ended: how long it took, and how many a second. The red of a ring is the "
                    "share that said it failed, or was stopped. A node that all arrows lead to is what the others depend on.",
                    service_map(),
                    w=14,
                ),
                timeseries(
                    "Handovers per minute",
                    "From agent to agent, of sessions that ended. An edge that vanishes: somebody no longer gets work.",
                    "none",
                    prom(
                        "60 * sum by (client, server) (rate(traces_service_graph_request_total[$__rate_interval]))",
                        "{{client}} → {{server}}",
                    ),
                    w=10,
                    h=12,
                ),
                timeseries(
                    "Duration of a handover, 95 %",
                    "As the one who hands over sees it.",
                    "s",
                    prom(
                        "histogram_quantile(0.95, sum by (client, server, le) "
                        "(rate(traces_service_graph_request_client_seconds_bucket[$__rate_interval])))",
                        "{{client}} → {{server}}",
                    ),
                ),
                timeseries(
                    "Share of failed spans",
                    "By agent, from the traces. Findings count as failed spans.",
                    "percentunit",
                    prom(
                        'sum by (service) (rate(traces_spanmetrics_calls_total{status_code="STATUS_CODE_ERROR", '
                        'service=~"$agent_id"}[$__rate_interval])) '
                        '/ sum by (service) (rate(traces_spanmetrics_calls_total{service=~"$agent_id"}[$__rate_interval]))',
                        "{{service}}",
                    ),
                    limits=thresholds((None, GOOD), (0.144, BAD)),
                ),
            ],
        ),
        variables=[
            variable("agent_id", "Agent", "label_values(agent_info, agent_id)"),
            given("session", "Session"),
            given("trace_id", "Trace"),
        ],
        links=links_but(TRACES),
        annotations=marks('agent_id=~"$agent_id"'),
        since="now-1h",
        closed=(ONE,),  # without an id Tempo answers with an error
        refresh="",  # it would fold up what is being read
    )

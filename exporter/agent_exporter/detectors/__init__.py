"""Action -> Finding: what PromQL cannot see, as it needs a session, a trace or a single call.

    loop            a session goes round, or on and on        loop.py             per session, and per trace
    session_budget  a session costs too much                  session_budget.py   per session
    action_anomaly  one call costs far more than usual        action_anomaly.py   per agent and action
    cascade         agents of one trace fail together         cascade.py          per trace

The sums of a budget do not depend on the order of lines and are checked on arrival. All else waits in a `reorder`
buffer until it is in order. Times are those of the lines, so an old log gives the same findings as when it was read
live. `docs/detectors.md` has the definitions.

Most detectors are functions of a step and of what is remembered (`steps`) that give evidence or None. `engine` calls
them for a session (`Detectors._decide`), `across_agents` for a trace (`AcrossAgents.decide`). `action_anomaly` has a
table of its own. `held_lines` bounds the lines that steps keep until their fingerprints are known; `fingerprint` says
which calls and failures are alike. `traces` holds what is remembered of traces, `kinds` is the table of kinds of
findings, `journal` keeps and prints the latest.
"""

from agent_exporter.detectors.engine import Detectors

__all__ = ["Detectors"]

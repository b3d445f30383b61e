"""agent-exporter: the JSON lines that AI agents print, as Prometheus metrics and OTLP traces.

The folder listing is the architecture. A line flows from top to bottom, and nothing flows back:

    lines      Batch, Origin and the longest line: what sources and formats hand on
    sources/   files, stdin and OTLP/HTTP  ->  lines of bytes, as they were written
    formats/   lines as they were written  ->  lines of ours: docker and CRI unwrapped, prefixes and colours taken off
    statuses   the words that lines have for how an action went
    action     bytes  ->  Action (frozen) or Rejection(reason); the only place that knows JSON
    records    a line that the decoder refuses, looked at once more: a record may stand behind a prefix
    lint       bytes  ->  every fault and warning of a line, for `validate`
    oddities   the warnings of the lines that are read: how many, and an example of each
    pipeline   the only loop: read, decode, drop duplicates, hand to each sink, commit
    sessions   Action  ->  the Session it belongs to: totals, start and end
    detectors/ Action and Session  ->  Finding: loops, budgets, anomalies, cascades
    metrics/   Action, Session and Finding  ->  cells; cells  ->  exposition
    spans/     Action and Session  ->  OTLP span bytes, and the queue that sends them
    probes/    questions to agents  ->  health checks
    benchmark/ inputs whose answers are known  ->  the share that came out right
    status/    what a person sees: cells, findings and the latest actions  ->  pages
    thresholds what the pages call bad, as the alert rules do
    clocks     how far each agent's clock is off
    duplicates what an OTLP sender delivers again is counted once
    outgoing   HTTP requests to agents and to a collector, bounded in time and size
    state      one SQLite file that every stage above commits its changed rows to, together
    stored     every kind of row in it: what reads it, and what it means if that fails

`stages` puts these together from a `config`: for `service`, which runs until it is told to end and shows itself through
`server`, and for `replay`, which reads logs of the past; `backtest/` lets a Prometheus judge what that counted, and
`explain/` reads them only around one task. `cli/` is the command line, `demo` a fleet to look at.
"""

__version__ = "0.1.0"

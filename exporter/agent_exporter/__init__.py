"""agent-exporter: the JSON lines that AI agents print, as Prometheus metrics and OTLP traces.

The folder listing is the architecture. Each stage imports only those that stand above it here
(`tests/test_architecture.py` has the four exceptions, with their reasons):

    text       text of others, before it is shown
    formatting numbers and times as people read them
    statuses   the words that lines have for how an action went
    thresholds what the pages call bad, as the alert rules do
    sweep      when a table is looked through for what is over, and what goes from a full one
    clocks     how far each agent's clock is off
    outgoing   HTTP requests to agents and to a collector, bounded in time and size
    eventloop  a thread that waits on sockets
    state      one SQLite file that every stage below commits its changed rows to, together
    config/    one YAML file, strict
    lines      Batch, Origin and the longest line: what sources and formats hand on
    formats/   lines as they were written  ->  lines of ours: docker and CRI unwrapped, prefixes and colours taken off
    action     bytes  ->  Action (frozen) or Rejection(reason)
    schema     the same types  ->  the JSON Schema of a line
    records    a line that the decoder refuses, looked at once more: a record may stand behind a prefix
    lineage    who handed a task to whom
    prices/    Action  ->  the same with its cost, in a copy
    lint       bytes  ->  every fault and warning of a line, for `validate`
    oddities   the warnings of the lines that are read: how many, and an example of each
    sources/   files, stdin and OTLP/HTTP  ->  lines of bytes, as they were written
    stage      what all stages below have in common, and the chain that hands them one action after another
    duplicates what an OTLP sender delivers again is counted once
    sessions   Action  ->  the Session it belongs to: totals, start and end
    detectors/ Action and Session  ->  Finding: loops, budgets, anomalies, cascades
    probes/    questions to agents  ->  health checks
    benchmark/ inputs whose answers are known  ->  the share that came out right
    metrics/   Action, Session and Finding  ->  cells; cells  ->  exposition
    spans/     Action and Session  ->  OTLP span bytes, and the queue that sends them
    breaker/   Finding  ->  a session that is stopped, and proof of it
    status/    what a person sees: cells, findings and the latest actions  ->  pages
    pipeline   the only loop: read, decode, drop duplicates, hand to the chain, commit
    stages     puts these together from a `config`
    stored     every kind of row in the state: what reads it, and what it means if that fails
    server/    HTTP: metrics, health, OTLP logs, pages
    service    `run`: goes on until it is told to end, and shows itself through `server`
    replay     reads logs of the past
    backtest/  lets a Prometheus judge what `replay` counted
    explain/   reads logs of the past only around one task
    healthcheck asks a running exporter whether it is well
    demo/      a fleet to look at
    cli/       the command line

JSON of lines is decoded in `action`, once a line. What that leaves alone is decoded where it is needed, if it is: names
of the fields of a refused line (`records`), what is wrapped around lines (`formats.containers`, `sources.otlp_json`),
input and output (`detectors.fingerprint`, `benchmark.record`), and of a log that is searched the ids alone, which is
four times as fast (`explain.search`).
"""

__version__ = "0.1.0"

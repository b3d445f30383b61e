"""agent-exporter: the JSON lines that AI agents print, as Prometheus metrics and OTLP traces.

The folder listing is the architecture. Each module or folder imports only those that stand above it here
(`tests/test_architecture.py` has the four exceptions, with their reasons):

    text       text of others, before it is shown
    formatting numbers and times as people read them
    statuses   the words that lines have for how an action went
    thresholds what the pages call bad, as the alert rules do
    sweep      when a table is looked through for what is over, and what goes from a full one
    clocks     how far each agent's clock is off
    outgoing   HTTP requests, bounded in time and size: to agents, to what stops sessions, to a collector
    eventloop  a thread that waits on sockets
    printer    a thread that writes to standard output
    state      where rows survive a restart: a SQLite file, or memory. The pipeline commits what a batch changed in
               sources, formats and stages together
    config/    one YAML file, strict
    lines      Batch, Origin and the longest line: what sources and formats hand on
    formats/   lines as they were written  ->  lines of ours: docker and CRI unwrapped, records of other programs by
               their mapping. `prefixed` finds a record behind a prefix, for `records`
    action     bytes  ->  Action (frozen) or Rejection(reason)
    schema     the same types  ->  the JSON Schema of a line
    names      other names that a line may have for a field
    records    a line that the decoder refuses, looked at once more: a record may stand behind a prefix
    lineage    who handed a task to whom
    prices/    Action  ->  the same with its cost and all its tokens, and what is odd about them
    lint       bytes  ->  every fault and warning of a line
    oddities   how many warnings the lines have that are read, some counted in a sample, and an example of each
    sources/   files, stdin, OTLP and lines over HTTP  ->  lines of bytes, through their format (OTLP: docker and CRI)
    stage      Stage, what takes in actions and is remembered; Chain, the stages in order, behind the sessions
    duplicates what an OTLP sender delivers again is counted once
    sessions   Action  ->  the Session it belongs to: totals, start and end
    detectors/ Action and Session  ->  Finding: loops, budgets, anomalies, cascades
    probes/    questions to agents  ->  health checks
    benchmark/ inputs whose answers are known  ->  the share that came out right
    metrics/   Action, Session and Finding  ->  cells; cells  ->  exposition
    spans/     Action, Session and Finding  ->  OTLP span bytes, a queue that keeps them, and a sender
    breaker/   Finding  ->  a session that is stopped, and proof of it; in observe mode only the record
    status/    what a person sees: cells, findings, sessions, checks, stops and the latest actions  ->  pages
    pipeline   the loop of `run` and `replay`: read, decode, drop duplicates, price, hand to the chain, commit
    stages     puts stages, sources and pipeline together from a `config`; what a scrape shows of them
    row_kinds  for each kind of row in the state: its reader, and what it means if a row is unreadable
    server/    HTTP: metrics, health, OTLP logs and other lines, budgets, pages
    service    `run`: reads until SIGTERM, and serves HTTP through `server`
    replay     reads finished logs to their end
    backtest/  lets a Prometheus judge what `replay` counted
    explain/   one task out of past logs, and what went wrong first; decodes only the lines around it
    healthcheck asks a running exporter whether it is well
    demo/      a fleet to look at
    cli/       the command line

JSON of lines is decoded in `action`, once for a line that fits the schema; a sample of lines once more, for what is odd
about them, and the first lines of a stream while its format is sought. Elsewhere only what that leaves alone is
decoded, where it is needed: names of the fields of a refused line (`records`), what is wrapped around lines
(`formats.containers`, `sources.otlp_json`, `sources.ndjson`), records of other programs (`formats.mapping.stream`) and
JSON in their texts (`formats.mapping.values`), input and output (`detectors.fingerprint`, `benchmark.record`), and the
ids alone of a log that is searched, which is four times as fast (`explain.search`).
"""

__version__ = "0.1.0"

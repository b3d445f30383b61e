"""agent-exporter: the JSON lines that AI agents print, as Prometheus metrics and OTLP traces.

The folder listing is the architecture. A line flows from top to bottom, and nothing flows back:

    sources/   files, stdin and OTLP/HTTP  ->  lines of bytes, unwrapped from docker and CRI
    action     bytes  ->  Action (frozen) or Rejection(reason); the only place that knows JSON
    pipeline   the only loop: read, decode, drop duplicates, hand to each sink, commit
    sessions   Action  ->  the Session it belongs to: totals, start and end
    metrics/   Action and Session  ->  cells; cells  ->  exposition
    spans/     Action and Session  ->  OTLP span bytes, and the queue that sends them
    state      one SQLite file that every stage above commits its changed rows to, together

`cli` and `config` start it, `server` shows it.
"""

__version__ = "0.1.0"

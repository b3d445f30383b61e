"""The exporter itself: does everything arrive, is everything counted, what was dropped."""

from __future__ import annotations

from dashboards.panels import BAD, GOOD, WARN, Json, board, lines, logs, now, prom, stat, thresholds, timeseries, words
from dashboards.shared import EXPORTER, NONE_IS_WELL, TITLES, links_but, marks

JOB = 'job="agent-exporter"'


def build() -> Json:
    """The board."""
    return board(
        EXPORTER,
        TITLES[EXPORTER],
        "If this board is red, distrust the others first. Every line read is accepted, rejected, duplicate or ignored.",
        (
            "Does it watch?",
            [
                stat(
                    "Scraped",
                    "Instances that Prometheus reaches. DOWN: nothing is watched; start it, it goes on where it was.",
                    "none",
                    now(f"sum(up{{{JOB}}}) or vector(0)"),
                    mappings=words({0: ("▲ DOWN", BAD), 1: ("● up", GOOD)}),
                ),
                stat(
                    "State",
                    "Whether the state file can be written. FULL: the disk is full or gone, reading pauses and senders wait; "
                    "make room and it goes on by itself.",
                    "none",
                    now("min(agent_exporter_state_available)"),
                    mappings=words({1: ("● written", GOOD), 0: ("▲ FULL", BAD)}),
                ),
                stat(
                    "Newest line",
                    "Time since any line was read. Over two minutes with agents at work: the way from the agents is broken.",
                    "s",
                    now("time() - max(agent_exporter_last_line_timestamp_seconds)"),
                    decimals=0,
                    limits=thresholds((None, GOOD), (120, BAD)),
                    none="none yet",
                ),
                stat(
                    "Last commit",
                    "Time since the state was last committed. It commits five times a second while there is something to.",
                    "s",
                    now("time() - max(agent_exporter_checkpoint_timestamp_seconds)"),
                    decimals=1,
                    limits=thresholds((None, GOOD), (60, WARN)),
                    none="no state file",
                ),
                stat(
                    "Config",
                    "Whether the config in force is the file's. OLD: the file has an error; check-config names it.",
                    "none",
                    now("min(agent_exporter_config_last_reload_successful)"),
                    mappings=words({1: ("● in force", GOOD), 0: ("▲ OLD", BAD)}),
                ),
                stat(
                    "Rejected, 1 h",
                    "Lines that are no record. agent-exporter validate names each, and what to change.",
                    "none",
                    now("sum(increase(agent_exporter_lines_rejected_total[1h]))"),
                    decimals=0,
                    limits=thresholds((None, GOOD), (1, WARN)),
                ),
                stat(
                    "Breaker",
                    "latched: it stopped too much at once and now only observes, until an operator runs breaker unlatch.",
                    "none",
                    now("max(agent_breaker_enforcing) - 2 * max(agent_breaker_latched)"),
                    mappings=words(
                        {
                            1: ("● enforcing", GOOD),
                            0: ("observing", "text"),
                            -1: ("▲ latched", BAD),
                            -2: ("▲ latched", BAD),
                        }
                    ),
                    none="none",
                ),
                stat(
                    "Version",
                    "What runs. More than one: a rollout is under way, or one instance was forgotten.",
                    "none",
                    now("count by (version) (agent_exporter_build_info)", "{{version}}"),
                    text="name",
                ),
            ],
        ),
        (
            "Is every line counted?",
            [
                timeseries(
                    "Lines per second",
                    "What became of what was read. Duplicates are records that a sender delivered again, as after a failure.",
                    "none",
                    prom("sum(rate(agent_exporter_lines_accepted_total[$__rate_interval]))", "accepted"),
                    prom("sum(rate(agent_exporter_lines_rejected_total[$__rate_interval]))", "rejected"),
                    prom("sum(rate(agent_exporter_lines_duplicate_total[$__rate_interval]))", "duplicate"),
                    prom("sum(rate(agent_exporter_lines_ignored_total[$__rate_interval]))", "ignored"),
                    w=8,
                    stacked=True,
                ),
                timeseries(
                    "Rejected per minute, by reason",
                    "missing_field and wrong_type are an agent's author's to mend; not_json is often a stack trace between records; "
                    "bad_timestamp is a clock.",
                    "none",
                    prom(
                        "60 * sum by (source, reason) (rate(agent_exporter_lines_rejected_total[$__rate_interval])) > 0",
                        "{{source}}: {{reason}}",
                    ),
                    none="● nothing was rejected",
                    w=8,
                    limits=thresholds((None, GOOD), (1, WARN)),
                ),
                timeseries(
                    "Lines in Loki, and lines counted",
                    "Agents' lines per minute that Loki took, and that the exporter accepted. Apart for more than a moment: the "
                    "collector's branch to one of them is broken.",
                    "none",
                    prom("sum(agent:loki_lines:count5m) / 5", "in Loki"),
                    prom("60 * sum(rate(agent_exporter_lines_accepted_total[5m]))", "counted"),
                    w=8,
                ),
                timeseries(
                    "Time since the newest line, by source",
                    "A source that climbs has gone quiet: its agents are idle, or its file or sender is gone.",
                    "s",
                    prom("time() - max by (source) (agent_exporter_last_line_timestamp_seconds)", "{{source}}"),
                    w=8,
                ),
                timeseries(
                    "Late lines and cut files, per hour",
                    "Late lines came after the reorder window: counted, but a loop that needs their order may be missed. Files cut: "
                    "copytruncate loses what comes between; rename instead.",
                    "none",
                    prom("sum by (source) (increase(agent_exporter_late_lines_total[1h])) > 0", "late: {{source}}"),
                    prom(
                        "sum by (source) (increase(agent_exporter_file_truncations_total[1h])) > 0", "cut: {{source}}"
                    ),
                    none="● none",
                    w=8,
                ),
                timeseries(
                    "Age of the last commit",
                    "Seconds since the state was committed, at each scrape. It grows when the disk is slow, and when there is "
                    "nothing to commit.",
                    "s",
                    prom("time() - max(agent_exporter_checkpoint_timestamp_seconds)", "since commit"),
                    w=8,
                    limits=thresholds((None, GOOD), (60, WARN)),
                ),
            ],
        ),
        (
            "Was anything dropped?",
            [
                timeseries(
                    "Counted under _overflow, per minute",
                    "Beyond a cap of series. Totals stay exact, names are lost: somebody puts ids into names. Raise metrics.max_series_per_family "
                    "only if the names are real.",
                    "none",
                    prom(
                        "60 * sum by (metric) (rate(agent_exporter_series_overflow_total[$__rate_interval])) > 0",
                        "{{metric}}",
                    ),
                    none="● nothing overflowed",
                    w=8,
                    limits=thresholds((None, GOOD), (1, WARN)),
                ),
                timeseries(
                    "Samples on the page",
                    "Two counts of a page. What the exporter sets aside for the agents' families, each at its fullest and with "
                    "_created: metrics.max_samples (100,000 unless set) is the most. And what Prometheus took, the exporter's own "
                    "families too, but of those only what was there and no _created: its sample_limit. The first may be the larger.",
                    "short",
                    prom("max(agent_exporter_series_samples)", "set aside for agents, at most, with _created"),
                    prom(f"max(scrape_samples_scraped{{{JOB}}})", "taken by Prometheus, without _created"),
                    w=8,
                ),
                timeseries(
                    "Dropped from full tables, per minute",
                    "sessions and traces: more open at once than are kept, the oldest end early. recent concerns the status page only.",
                    "none",
                    prom(
                        '60 * sum by (table) (rate(agent_exporter_table_evictions_total{table!="recent"}[$__rate_interval])) > 0',
                        "{{table}}",
                    ),
                    none="● nothing was dropped",
                    w=8,
                    limits=thresholds((None, GOOD), (1, WARN)),
                ),
                timeseries(
                    "Spans per second",
                    "What the collector took, and what was lost: refused for good, or the queue was full.",
                    "none",
                    prom("sum(rate(agent_exporter_spans_sent_total[$__rate_interval]))", "sent"),
                    prom("sum(rate(agent_exporter_spans_dropped_total[$__rate_interval]))", "lost"),
                    w=8,
                ),
                timeseries(
                    "Spans that wait",
                    "A queue that only grows: the collector is away. They are kept in the state file up to otlp.spool_bytes.",
                    "none",
                    prom("sum(agent_exporter_span_queue_length)", "waiting"),
                    w=4,
                ),
                timeseries(
                    "Bytes that wait",
                    "Of spans, in the state file.",
                    "bytes",
                    prom("sum(agent_exporter_span_spool_bytes)", "spool"),
                    w=4,
                ),
                stat(
                    "Spans lost, 24 h",
                    "Any is a hole in a trace.",
                    "none",
                    now("sum(increase(agent_exporter_spans_dropped_total[1d]))"),
                    w=4,
                    h=8,
                    decimals=0,
                    limits=NONE_IS_WELL,
                ),
                stat(
                    "Overflow",
                    "Whether agents share the name _overflow. They do: look for ids in agent_id.",
                    "none",
                    now('count(agent_info{agent_id="_overflow"}) or vector(0)'),
                    w=4,
                    h=8,
                    mappings=words({0: ("● none", GOOD), 1: ("◆ some", WARN)}),
                ),
            ],
        ),
        (
            "What does it take?",
            [
                timeseries(
                    "Memory",
                    "Resident, by instance. It is bounded by its tables; a line that only rises is worth a report.",
                    "bytes",
                    prom(f"process_resident_memory_bytes{{{JOB}}}", "{{instance}}"),
                    w=8,
                ),
                timeseries(
                    "CPU",
                    "Cores. Near 1 it cannot keep up: the newest line's age grows. Shard by session.",
                    "none",
                    prom(f"rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval])", "{{instance}}"),
                    w=8,
                    limits=thresholds((None, GOOD), (0.9, WARN)),
                ),
                timeseries(
                    "Duration of a scrape",
                    "How long Prometheus waits for the page; it gives up after 10 s.",
                    "s",
                    prom(f"scrape_duration_seconds{{{JOB}}}", "{{instance}}"),
                    w=8,
                    limits=thresholds((None, GOOD), (5, WARN)),
                ),
                logs(
                    "Findings",
                    "Everything that was found, for all agents, with its evidence. The trace id leads to the proof.",
                    lines('{service_name="agent-exporter"}'),
                    h=8,
                ),
            ],
        ),
        variables=[],
        links=links_but(EXPORTER),
        annotations=marks(),
    )

"""Behavioural health checks: ask agents questions that only a working agent can answer.

    settings      the checks of each agent, from the config; the article's four are a table
    endpoint      one request, bounded in time and size; no redirects, no address that the config does not name
    numbers       "512.", "**512**", "five hundred twelve", and never "5120"
    expectation   what an answer should be: a table of functions; benchmarks use the same
    check         asks and judges: a Result
    prober        every check on its own timer, on an event loop of its own; a scrape shows the latest results
    once          all checks now: `agent-exporter probe`

alert_rules/health.rules.yml says how many failures in a row page a person.
"""

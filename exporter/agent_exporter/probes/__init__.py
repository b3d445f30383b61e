"""Behavioural health checks: asks agents what only a working one can answer, "is it running?" being the least of it.

    settings      what each agent is asked, from the config; the article's four are a table
    endpoint      one request, bounded in time and size; no redirects, no address that the config does not name
    numbers       "512.", "**512**", "five hundred twelve", and never "5120"
    expectation   what an answer has to be: a table of one function each; benchmarks judge by the same
    check         asks, and judges: a Result
    prober        every check on its own timer, on an event loop of its own; a scrape shows the latest results
    once          all of them now: `agent-exporter probe`

How many failures in a row are worth waking somebody is for alert_rules/health.rules.yml to say.
"""

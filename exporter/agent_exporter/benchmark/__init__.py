"""Benchmark runs: give an agent inputs with known answers, again and again, to measure slow drift.

suite      a YAML file of cases: an input, and what is expected of the answer (`agent_exporter.probes.expectation`)
run        gives them to one agent, one after the other: a Report
history    the latest reports of each agent and suite, as rows of the state file
schedule   runs suites at their intervals, beside the health checks
record     a suite from a log of good sessions
report     a Report as a table, and as JSON
"""

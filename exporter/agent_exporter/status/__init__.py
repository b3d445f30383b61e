"""The status page, for people without Grafana at hand: the fleet, an agent, a task, and what was found.

It judges nothing a second time: silence, budgets and drift are read off the very series that the alert rules read, and
loops and cascades are the detectors' findings. `recent` holds what no series may; `conditions` says how an agent is,
`sentences` what was found, `pages` writes it. `snapshot` is what one page is made from, `waterfall` a trace by time,
`drawings` the small charts.
"""

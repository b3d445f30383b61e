"""Actions and sessions become cells, cells become an exposition.

`cells` are what is counted, one small struct per label set; `tally` adds actions to them, within the caps of
`limits`; `families` spells every metric name, once, and turns the committed cells into prometheus_client families.
"""

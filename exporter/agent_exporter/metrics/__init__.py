"""Actions and sessions become cells, cells become an exposition.

`cells` are what is counted, one small struct per label set; `table` makes, stores and drops them, within the bounds of
`limits`; `tally` adds to them; `families` spells every metric name, once; `samples` puts the committed cells on a
page under these names: `exposition` is one of text, `collector` one of prometheus_client's families.
"""

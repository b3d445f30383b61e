"""Actions and sessions become cells, cells become an exposition.

`cells` hold the numbers, one small struct per label set; `table` makes, stores and drops cells, within the bounds of
`limits`; `tally` adds to cells; `families` has the name of every metric, once; `samples` puts the committed cells on a
page under these names: `exposition` writes text, `collector` makes families of prometheus_client.
"""

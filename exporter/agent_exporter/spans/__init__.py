"""Actions and sessions become OTLP spans: one connected tree per task.

`encode` writes the protobuf, `tree` decides which span is below which, `queue` keeps spans until `sender` has sent them
to the collector.
"""

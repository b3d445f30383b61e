"""Actions and sessions become OTLP spans: one connected tree per task.

`encode` writes the protobuf, `tree` decides who hangs below whom, `queue` keeps spans until `sender` has brought
them to the collector.
"""

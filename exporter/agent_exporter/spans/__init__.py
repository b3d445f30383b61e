"""Actions and sessions become OTLP spans: one connected tree per task.

`encode` writes the protobuf, `tree` decides which span is below which, `queue` keeps spans until `sender` has sent them
to the collector, whose address is a `target`. `trace_buffer` keeps the spans of a trace together until it ends.
"""

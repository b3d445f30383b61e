"""`agent-exporter demo`: a small fleet that misbehaves on request, and the exporter that catches it.

fleet    simulated agents in several teams, written with agentlog as anyone's would be; nothing but sleeping is done
faults   what may go wrong with them: a table of one function each
history  three past weeks, for the fault that needs them
mailbox  what they answer over HTTP: how they are, and that they stop
show     the fleet in a process of its own, its lines in a file, and an exporter that follows it
"""

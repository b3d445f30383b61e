"""Finding -> a stopped session, and proof that it stopped.

intent        what the breaker means to do with one session: a row of state, committed before anything is done
intents       the table of intents; counts what becomes of each, and writes it to the audit log
authority     whose lines count against an agent
account       what a session has used of its budget
latch         stops nobody when too many would be stopped at once: a person has to look
permission    whether a session may be stopped now, and why not
breaker       the stage: findings and lines in, intents out
terminator    the call itself: HTTP, or a fixed command
confirmation  whether the sessions that should stop did stop
audit         what was done and why, in a file that shows if someone has changed it
operators     the operators' orders: status, unlatch, extend
control       the socket that brings the orders; only the exporter's user can open it
client        what `agent-exporter breaker` sends and prints
"""

from agent_exporter.breaker.audit import Audit
from agent_exporter.breaker.breaker import Breaker, BreakerMetrics
from agent_exporter.breaker.operators import Operators

__all__ = ["Audit", "Breaker", "BreakerMetrics", "Operators"]

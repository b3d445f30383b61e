"""Finding -> a session that is stopped, and proof of it.

intent        what is to be done with one session: a row of state, committed before anything is done
intents       the table of them; what becomes of each is counted, and in the audit log
authority     whose lines may have an agent stopped
account       what a session has used of its budget
latch         too many at once: something else is wrong, and a person has to look
permission    whether a session may be stopped now, and why not
breaker       the stage: findings and lines in, intents out
terminator    the call itself: HTTP, or a fixed command
confirmation  whether those that were told to stop did
audit         what was done and why, in a file that shows when it was changed
operators     what operators ask: status, unlatch, extend
control       how it is asked: over a socket that only the exporter's user can open
client        what `agent-exporter breaker` sends and prints
"""

from agent_exporter.breaker.audit import Audit
from agent_exporter.breaker.breaker import Breaker, BreakerMetrics
from agent_exporter.breaker.operators import Operators

__all__ = ["Audit", "Breaker", "BreakerMetrics", "Operators"]

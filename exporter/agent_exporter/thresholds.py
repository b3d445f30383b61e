"""Thresholds that the status page shares with the alert rules. A test compares each number with the rule files."""

FRESH = 600.0
"""Seconds that a finding counts as current: long enough for a page, short enough not to hide the next one."""
SILENT_CYCLES = 2
"""Expected cycles without a line after which an agent is silent: the article's threshold."""
STARTING = 60.0
"""Seconds after the exporter's start in which no agent is called silent: it may not have read yet what was logged."""
UNSEEN = 600.0
"""Seconds after which an agent with a cycle that has never logged is worth a look: what is deployed together does not
start together.
"""
UNHEARD = 120.0
"""Seconds without a line from anyone after which the way to the exporter is dead, if CUT_OFF agents are overdue since.

For as long an overdue agent is not called silent if it was heard in time as long as any other was.
"""
CUT_OFF = 2
"""Overdue agents that make it the way and not an agent; and agents with a cycle that one can be compared among."""
WARN_SHARE = 0.8
"""Share of a daily budget from which it is worth a look: early enough to act within the day."""
DRIFT = {"confidence": 0.08, "completion": 0.15, "feedback": 0.15}
"""How far a quality signal may fall below its first week, of 1: differences that a reader of answers notices."""
MIN_SAMPLES = 30
"""Values that a mean needs before it is compared."""
FALLING_ERRORS, FLAT_ERRORS = 2, 3
"""Standard errors that a fall has to exceed while it goes on, and once it has flattened."""
OUTAGE = 200.0
"""Seconds of failed health checks that page, if the check is one of the article's: three runs, and room."""

"""What a session has used of its budget: one sum for the breaker and for an agent that asks what is left.

If an agent has `trusted_sources`, only the sums and task types of lines from them count. A session whose lines name no
task type has the budget of `default`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from agent_exporter.detectors.session_budget import exceeded

if TYPE_CHECKING:
    from agent_exporter.config import Config
    from agent_exporter.sessions import Session


class Account(NamedTuple):
    """The sums and ceilings of one session. Cost is in US dollars; `max_cost_usd` is None without a ceiling."""

    task_type: str
    tokens: int
    cost_usd: float
    max_tokens: int
    max_cost_usd: float | None

    @property
    def excess(self) -> dict[str, Any] | None:
        """The evidence if the session is over a ceiling, else None."""
        evidence = exceeded(self.tokens, self.cost_usd, self.max_tokens, self.max_cost_usd)
        return None if evidence is None else evidence | {"task_type": self.task_type}


def account(session: Session, config: Config, *, vouched: bool, asked: str = "default") -> Account:
    """The account of a session.

    vouched: whether the agent has `trusted_sources`.
    asked: the task type to use while nothing is used and no line names one. Lines that others write in the agent's
    name must not give a session that is about to begin a smaller budget.
    """
    if vouched:
        task_type, tokens, cost_usd = session.attested_type, session.attested_tokens, session.attested_cost_usd
    else:
        task_type, tokens, cost_usd = session.task_type, session.tokens, session.cost_usd
    if task_type in {"", "default"}:
        task_type = "default" if tokens or cost_usd else asked
    return Account(task_type, tokens, cost_usd, *session.ceilings(config.task_type(task_type)))

"""What went wrong first, in two sentences, for a person who was just paged. Pure; the sentences are safe to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_exporter import formatting
from agent_exporter.explain.terminal import cut, safe
from agent_exporter.status import sentences

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_exporter.action import Action
    from agent_exporter.detectors.finding import Finding
    from agent_exporter.explain.task import Sums, Task, Trouble

MAX_NAMED = 4
"""Agents that a sentence names; if there are more, it says how many."""
MAX_NAME, MAX_EVIDENCE = 40, 300
"""Columns of a name, and of a finding's evidence."""


def tell(task: Task) -> tuple[str, str]:
    """The two sentences about a task: what went wrong first, and what followed; or that nothing did."""
    if task.trouble is None:
        return _healthy(task)
    return _first(task.trouble), _then(task, task.trouble)


def _healthy(task: Task) -> tuple[str, str]:
    if task.completed is False:
        return (
            "The task was not completed, its agents say, but no action failed and the detectors found nothing.",
            f"{_took(task)}: look at what its last actions were given, and at their answers.",
        )
    return "Nothing went wrong: no action failed, and the detectors found nothing.", f"{_took(task)}; {_end(task)}."


def _took(task: Task) -> str:
    spent = [formatting.duration(task.ended - task.started), *_spent(task.sums)]
    return f"{plural(task.sums.actions, 'action')} of {named(task.agents)} took {listed(spent)}"


def _first(trouble: Trouble) -> str:
    at, asked = formatting.clock(trouble.at), _asked(trouble)
    if trouble.finding is None:
        assert trouble.action is not None
        what = f"its {short(trouble.action.action)} ended in {_failure(trouble.action)} at {at}"
        return f"{short(trouble.agent_id)} failed first: {what}{asked}."
    kind = trouble.finding.topic.doing
    evidence = cut(safe(sentences.evidence(trouble.finding)), MAX_EVIDENCE)
    return f"{short(trouble.agent_id)} went wrong first: {kind} at {at}{asked}; {evidence}."


def _failure(action: Action) -> str:
    what = "a timeout" if action.status == "timeout" else "an error"
    return f"{what} ({short(action.error_type)})" if action.error_type else what


def _asked(trouble: Trouble) -> str:
    if not trouble.asked_by:
        return ""
    asker = trouble.asked_by[0]
    if len(trouble.asked_by) == 1:
        return f", asked by {short(asker.agent_id)}"
    way = [trouble.agent_id, *(one.agent_id for one in trouble.asked_by)]
    return f", asked by {short(asker.agent_id)} on the way {' → '.join(map(short, _middle(way[::-1])))}"


def _middle(names: list[str]) -> list[str]:
    return names if len(names) <= MAX_NAMED + 1 else [*names[:2], "…", *names[-2:]]


def _then(task: Task, trouble: Trouble) -> str:
    said = []
    if trouble.others:
        agents = list(dict.fromkeys(other.agent_id for other in trouble.others))
        said.append(f"After it {named(agents)} failed, {_later(trouble.others[-1].at - trouble.at)}")
    elif trouble.after.failed:
        others = ", and no other agent's" if len(task.agents) > 1 else ""
        noun = "more action" if trouble.finding is None else "action"
        said.append(f"After it {plural(trouble.after.failed, noun)} of its own failed{others}")
    else:
        said.append("After it nothing else failed" if trouble.finding is None else "After it nothing failed")
    spent = [formatting.duration(trouble.seconds), *_spent(trouble.after)]
    if trouble.after.actions:
        said.append(f"{plural(trouble.after.actions, 'more action')} took {listed(spent)}")
    else:
        said[0] += ", and no action came"
    said.append(_end(task))
    if task.findings:
        said.append(f"found: {', '.join(dict.fromkeys(map(_kind, task.findings)))}")
    return f"{'; '.join(said)}."


def _kind(finding: Finding) -> str:
    kind = sentences.kind_of(finding)
    return kind if finding.root_agent is None else f"{kind} (suspected root {short(finding.root_agent)})"


def _later(seconds: float) -> str:
    return "at the same time" if seconds < 0.05 else f"within {formatting.duration(seconds)}"


def _end(task: Task) -> str:
    if task.completed is not None:
        return "the task was completed" if task.completed else "the task was not completed"
    return "it is not said whether the task was completed" if task.over else "the log has no end of the task"


def _spent(sums: Sums) -> list[str]:
    said = [] if not sums.tokens else [f"{formatting.count(sums.tokens)} tokens"]
    return [*said, formatting.money(sums.cost_usd)] if sums.cost_usd else said


def named(agents: Sequence[str]) -> str:
    """The names of some agents, or how many there are."""
    return listed([short(agent) for agent in agents]) if len(agents) <= MAX_NAMED else f"{len(agents):,} agents"


def listed(parts: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def short(name: str) -> str:
    """A name from a log in a sentence."""
    return cut(safe(name), MAX_NAME)


def plural(number: int, noun: str) -> str:
    """1 action, 2 actions."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

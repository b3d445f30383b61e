"""The answer as one JSON document, described in docs/explain.md. Names are whole; non-ASCII is escaped."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent_exporter.action import stamp
from agent_exporter.explain import given, story

if TYPE_CHECKING:
    from agent_exporter.action import Action
    from agent_exporter.detectors.finding import Finding
    from agent_exporter.explain import Answer
    from agent_exporter.explain.task import Sums, Task, Trouble
    from agent_exporter.status.waterfall import Bar


def write(answer: Answer, *, content: bool) -> str:
    """The document; with `content` it includes the inputs and outputs of the first failures."""
    shown = {
        "now": stamp(answer.now),
        "tasks": [_task(task, content=content) for task in answer.tasks],
        "tasks_left_out": answer.more,
        "lines_left_out": answer.dropped,
    }
    return json.dumps(shown, indent=2)


def _task(task: Task, *, content: bool) -> dict[str, Any]:
    return {
        "trace_id": task.trace_id,
        "names": task.names,
        "story": list(story.tell(task)),
        "started": stamp(task.started),
        "ended": stamp(task.ended),
        "seconds": _seconds(task.ended - task.started),
        "completed": task.completed,
        "over": task.over,
        "agents": task.agents,
        "sessions": task.sessions,
        **_sums(task.sums),
        "suspected_root": task.root,
        "first": None if task.trouble is None else _trouble(task.trouble, content=content),
        "findings": [_finding(finding) for finding in task.findings],
        "tree": [_bar(bar) for bar in task.rows],
        "actions_not_in_tree": task.not_shown,
    }


def _trouble(trouble: Trouble, *, content: bool) -> dict[str, Any]:
    action = trouble.action
    return {
        "agent_id": trouble.agent_id,
        "session_id": trouble.session_id,
        "at": stamp(trouble.at),
        "action": None if action is None else action.action,
        "status": None if action is None else action.status,
        "error_type": None if action is None else action.error_type,
        **({name: _cut(text) for name, text in given.parts(action).items()} if content and action is not None else {}),
        "finding": None if trouble.finding is None else _finding(trouble.finding),
        "asked_by": [
            {
                "agent_id": asker.agent_id,
                "session_id": asker.session_id,
                "after": None if asker.latest is None else _ended(asker.latest),
            }
            for asker in trouble.asked_by
        ],
        "failed_after": [
            {"agent_id": other.agent_id, "session_id": other.session_id, **_ended(other)} for other in trouble.others
        ],
        "after": {"seconds": _seconds(trouble.seconds), **_sums(trouble.after)},
    }


def _ended(action: Action) -> dict[str, Any]:
    return {"action": action.action, "at": stamp(action.at)}


def _sums(sums: Sums) -> dict[str, Any]:
    return {"actions": sums.actions, "failed": sums.failed, "tokens": sums.tokens, "cost_usd": _dollars(sums.cost_usd)}


def _finding(finding: Finding) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(finding.to_json())
    return document


def _bar(bar: Bar) -> dict[str, Any]:
    done = bar.done
    document = {
        "depth": bar.depth,
        "agent_id": bar.agent_id,
        "session_id": bar.session_id,
        "started": stamp(bar.started),
        "ended": stamp(bar.at),
        "seconds": _seconds(bar.at - bar.started),
        "actions": bar.actions,
        "failed": bar.failed,
        "tokens": bar.tokens,
        "cost_usd": _dollars(bar.cost_usd),
    }
    if done is not None:
        document |= {
            "action": done.action,
            "status": done.status,
            "error_type": done.error_type,
            "model": done.model,
            "tokens": done.tokens,
            "retries": done.retries,
            "confidence": done.confidence,
        }
    return document


def _cut(text: str | None) -> str | None:
    return None if text is None else given.shortened(text)


def _dollars(dollars: float | None) -> float | None:
    return None if dollars is None else round(dollars, 6)  # a sum of floats has digits that no line had


def _seconds(seconds: float) -> float:
    return round(seconds, 3)

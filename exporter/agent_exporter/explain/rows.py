"""The rows of a tree for a person: like actions in one row, a bounded number, with branches drawn before them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agent_exporter.status.recent import ActionSummary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_exporter.detectors.finding import Finding
    from agent_exporter.explain.task import Task
    from agent_exporter.status.waterfall import Bar

MAX_ROWS = 120
"""Rows of one tree; beyond them, successful actions are left out."""


class Row(NamedTuple):
    """A line of the tree: a session, or one or more actions of one kind in a row."""

    bar: Bar
    bars: Sequence[Bar]
    findings: list[Finding]

    @property
    def eventful(self) -> bool:
        return bool(self.findings or any(bar.failed for bar in self.bars))


def rows_of(task: Task) -> list[Row]:
    """The tree's rows, with like actions in a row merged into one."""
    first = failed_first(task)
    of_actions = {id(finding) for bar in task.rows if bar.done is not None for finding in bar.findings}
    rows: list[Row] = []
    for bar in task.rows:
        if bar.done is None:
            rows.append(Row(bar, [bar], [finding for finding in bar.findings if id(finding) not in of_actions]))
        elif rows and (first is None or first not in {bar.done, rows[-1].bar.done}) and _alike(rows[-1], bar):
            rows[-1] = rows[-1]._replace(bars=[*rows[-1].bars, bar])
        else:
            rows.append(Row(bar, [bar], bar.findings))
    return rows


def failed_first(task: Task) -> ActionSummary | None:
    """The action to mark as failed first; None if there is none."""
    trouble = task.trouble
    if trouble is None or trouble.finding is not None or trouble.action is None:
        return None
    return ActionSummary.of(trouble.action)


def _alike(row: Row, bar: Bar) -> bool:
    """Whether the action can join the row: it is alike, and neither has findings."""
    last, done = row.bar.done, bar.done
    if last is None or done is None or row.findings or bar.findings:
        return False
    same = ("agent_id", "session_id", "action", "status", "error_type")
    return all(getattr(last, field) == getattr(done, field) for field in same)


def fit(rows: list[Row]) -> tuple[list[Row], int]:
    """At most MAX_ROWS rows, and how many actions are left out. Failures and findings come first, with their path."""
    if len(rows) <= MAX_ROWS:
        return rows, 0
    chosen: set[int] = set()
    for index, row in enumerate(rows):
        if row.eventful and len(chosen) < MAX_ROWS:
            depth = row.bar.depth + 1
            for above in range(index, -1, -1):
                if rows[above].bar.depth < depth:
                    chosen.add(above)
                    depth = rows[above].bar.depth
    for index in range(len(rows)):
        if len(chosen) >= MAX_ROWS:
            break
        chosen.add(index)
    left_out = [row for index, row in enumerate(rows) if index not in chosen]
    return [rows[index] for index in sorted(chosen)], sum(len(row.bars) for row in left_out if row.bar.done is not None)


def branches(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The branches before each row, and before the notes below it."""
    drawn = []
    later: set[int] = set()
    for row in reversed(rows):
        depth = row.bar.depth
        lines = ["│ " if level in later else "  " for level in range(1, depth + 1)]
        branch = "".join(lines[:-1]) + (("├ " if depth in later else "└ ") if depth else "")
        drawn.append((branch, "".join(lines) + ("│ " if depth + 1 in later else "  ")))
        later = {level for level in later if level < depth} | {depth}
    return drawn[::-1]

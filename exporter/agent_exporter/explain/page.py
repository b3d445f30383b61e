"""The answer as text: two sentences, the tree with its numbers, the input of the first failure, and the findings.

Times are UTC. All text from logs goes through `safe` before it is shown.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent_exporter import formatting
from agent_exporter.explain import story
from agent_exporter.explain.rows import branches, failed_first, fit, rows_of
from agent_exporter.explain.search import MAX_LINES
from agent_exporter.explain.story import plural
from agent_exporter.explain.terminal import cut, cut_end, pad, safe, width, wrap
from agent_exporter.status import conditions, sentences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent_exporter.action import Action
    from agent_exporter.detectors.finding import Finding
    from agent_exporter.explain import Answer
    from agent_exporter.explain.rows import Row
    from agent_exporter.explain.task import Task, Trouble
    from agent_exporter.explain.terminal import Paint

MAX_FINDINGS = 20
"""Of one task."""
MAX_FULL, MAX_BRIEF = 3, 20
"""Tasks shown in full, and further ones with a line each."""
MAX_LINES_EACH = 4
"""Of one finding."""
MIN_COLUMNS, MAX_COLUMNS = 80, 160
NUMBERS = (("TOOK", 10), ("TOKENS", 7), ("COST", 8), ("RETRY", 5), ("CONF", 4))
"""Columns of numbers, aligned right."""
STATUS = 9


class Page:
    """Writes tasks in so many columns. `asked(agent_id, session_id)` says whether the session is the one asked for."""

    def __init__(self, paint: Paint, columns: int, asked: Callable[[str, str], bool]) -> None:
        self._paint = paint
        self._columns = max(MIN_COLUMNS, min(MAX_COLUMNS, columns))
        self._asked = asked

    def task(self, task: Task, given: Sequence[str]) -> Iterator[str]:
        """A task in full; `given` are the lines about the input and output of its first failure."""
        paint, columns = self._paint, self._columns
        level = task.level
        yield paint(cut(f"Task {name_of(task)}", columns), "strong")
        yield from wrap(self._summary(task), columns)
        if task.names != [task.trace_id]:
            yield paint(f"trace id {task.trace_id}", "quiet")
        yield ""
        mark = conditions.MARKS[level]
        for sentence in story.tell(task):
            for line in wrap(sentence, columns - 2):
                yield paint(f"{mark} {line}", level)
                mark = " "
        yield ""
        yield from self._tree(task)
        if task.trouble is not None and task.trouble.action is not None:
            yield ""
            yield from self._first(task.trouble, task.trouble.action, given)
        if task.findings:
            yield ""
            yield paint("Found", "strong")
            for finding in task.findings[:MAX_FINDINGS]:
                yield from self._found(finding)
            if len(task.findings) > MAX_FINDINGS:
                yield f"  … and {len(task.findings) - MAX_FINDINGS:,} more"

    def answer(self, answer: Answer, given: Callable[[Action], Iterable[str]]) -> Iterator[str]:
        """Some tasks in full, some in a line each, and how many are not shown."""
        tasks = answer.tasks
        if len(tasks) > 1:
            said = f"{plural(len(tasks) + answer.more, 'task')}, the worst first; the log ends at {_moment(answer.now)}"
            yield self._paint(cut_end(said, self._columns), "strong")
            yield ""
        for number, task in enumerate(tasks[:MAX_FULL]):
            if number:
                yield from ("", "─" * self._columns, "")
            action = task.trouble and task.trouble.action
            yield from self.task(task, list(given(action)) if action else [])
        brief = tasks[MAX_FULL : MAX_FULL + MAX_BRIEF]
        if brief:
            yield from ("", "─" * self._columns, "")
            yield from self._brief(brief)
        left_out = len(tasks) - MAX_FULL - len(brief) + answer.more
        if left_out > 0:
            yield f"… {plural(left_out, 'more task')} left out; a shorter --since has fewer, --trace NAME shows one"
        if answer.dropped:
            yield f"… {plural(answer.dropped, 'more line')} left out: the first {MAX_LINES:,} are looked at"

    def _brief(self, tasks: Sequence[Task]) -> Iterator[str]:
        """Tasks in a line each."""
        left = self._columns - 68
        titles = "      TOOK AGENTS ACTIONS FAILED  TOKENS     COST"
        yield self._paint(f"{'TIME':8}  {pad('TASK', left)} {titles}", "strong")
        for task in tasks:
            sums, level = task.sums, task.level
            found = ", ".join(dict.fromkeys(sentences.kind_of(finding) for finding in task.findings))
            name = pad(f"{conditions.MARKS[level]} {name_of(task)}{f' ({found})' if found else ''}", left)
            numbers = (
                f"{formatting.duration(task.ended - task.started):>10} {len(task.agents):>6,} {sums.actions:>7,} "
                f"{sums.failed:>6,} {_tokens(sums.tokens):>7} {_money(sums.cost_usd):>8}"
            )
            yield self._paint(f"{formatting.clock(task.started)}  {name} {numbers}".rstrip(), level)

    def _summary(self, task: Task) -> str:
        began, ended = (datetime.fromtimestamp(at, UTC) for at in (task.started, task.ended))
        until = f"{ended:%H:%M:%S}" if began.date() == ended.date() else f"{ended:%Y-%m-%d %H:%M:%S}"
        sums = task.sums
        said = [
            f"{began:%Y-%m-%d %H:%M:%S} to {until} UTC ({formatting.duration(task.ended - task.started)})",
            plural(len(task.agents), "agent"),
            plural(task.sessions, "session"),
            plural(sums.actions, "action"),
            f"{sums.failed:,} failed",
        ]
        if sums.tokens is not None:
            said.append(f"{formatting.count(sums.tokens)} tokens")
        if sums.cost_usd is not None:
            said.append(formatting.money(sums.cost_usd))
        return ", ".join(said)

    # --- the tree ----------------------------------------------------------------------------------------------

    def _tree(self, task: Task) -> Iterator[str]:
        rows, left_out = fit(rows_of(task))
        name = self._columns - sum(size + 1 for _, size in NUMBERS) - STATUS - 2 - 10
        numbers = "".join(f" {title:>{size}}" for title, size in NUMBERS)
        yield self._paint(f"{'TIME':8}  {pad('WHO AND WHAT', name)}{numbers}  STATUS", "strong")
        first = failed_first(task)
        shown: set[int] = set()
        for row, (branch, below) in zip(rows, branches(rows), strict=True):
            yield self._row(row, branch, name)
            if first is not None and row.bar.done == first:
                yield f"{'':10}{below}{self._paint('▲ failed first', 'bad')}"
            for finding in row.findings:
                if id(finding) not in shown:
                    shown.add(id(finding))
                    yield self._note(finding, f"{'':10}{below}")
        if left_out or task.not_shown:
            whole = "more" if task.not_shown else "all"
            yield f"{'':10}… {plural(left_out + task.not_shown, 'more action')}; --json has {whole} of them"

    def _row(self, row: Row, branch: str, name: int) -> str:
        bar, bars, paint = row.bar, row.bars, self._paint
        done = bar.done
        room = name - width(branch)
        failed = sum(one.failed for one in bars)
        if done is None:
            mark = "▶ " if self._asked(bar.agent_id, bar.session_id) else ""
            label, style = mark + _both(bar.agent_id, bar.session_id, room - width(mark)), "strong"
            status = f"{failed:,} failed" if failed else "ok"
            retries, confidence = 0, None
        else:
            label, style = safe(done.action), "bad" if failed else ""
            if len(bars) > 1:
                label += f" \N{MULTIPLICATION SIGN}{len(bars):,}"
            if done.error_type is not None and done.error_type != "_OTHER":
                label += f": {safe(done.error_type)}"
            status = done.status
            actions = [one.done for one in bars if one.done is not None]
            retries = max(one.retries for one in actions)
            confidence = min((one.confidence for one in actions if one.confidence is not None), default=None)
        costs = [one.cost_usd for one in bars if one.cost_usd is not None]
        cells = (
            formatting.duration(max(one.at for one in bars) - bar.started),
            _tokens(sum(one.tokens for one in bars)),
            _money(sum(costs) if costs else None),
            str(retries) if retries else "",
            "" if confidence is None else f"{confidence:.2f}",
        )
        label = pad(label, room)
        numbers = "".join(f" {cell:>{size}}" for cell, (_, size) in zip(cells, NUMBERS, strict=True))
        shown = paint(status, "bad") if failed else status if status in {"ok", "success"} else paint(status, "warn")
        label = paint(label, style) if style else label
        return f"{formatting.clock(bar.started)}  {paint(branch, 'quiet')}{label}{numbers}  {shown}"

    def _note(self, finding: Finding, before: str) -> str:
        """A finding in the tree, in one line."""
        level = conditions.level_of(finding.topic)
        sentence = _title(finding) if finding.root_agent else f"{_title(finding)}, {sentences.evidence(finding)}"
        return before + self._paint(
            cut_end(safe(f"{conditions.MARKS[level]} {sentence}"), self._columns - width(before)), level
        )

    def _found(self, finding: Finding) -> Iterator[str]:
        """A finding in full."""
        level = conditions.level_of(finding.topic)
        who = finding.agent_id if finding.session_id is None else f"{finding.agent_id} {finding.session_id}"
        sentence = f"{formatting.clock(finding.at)} {_title(finding)}, {who}: {sentences.evidence(finding)}"
        mark = conditions.MARKS[level]
        for line in wrap(cut_end(safe(sentence), MAX_LINES_EACH * self._columns), self._columns - 2):
            yield self._paint(f"{mark} {line}", level)
            mark = " "

    # --- what went wrong first -----------------------------------------------------------------------------------

    def _first(self, trouble: Trouble, action: Action, given: Sequence[str]) -> Iterator[str]:
        what = "Failed first" if trouble.finding is None else "Went wrong first"
        title = f"{what}: {action.action} of {action.agent_id} {action.session_id}, {formatting.clock(action.at)}"
        yield self._paint(cut_end(safe(title), self._columns), "strong")
        by = "asked by"
        for asker in trouble.asked_by[:MAX_FINDINGS]:
            sentence = f"{by} {asker.agent_id} {asker.session_id or '(the log has no line of it)'}"
            if asker.latest is not None:
                sentence += f", after its {asker.latest.action} at {formatting.clock(asker.latest.at)}"
            yield f"  {cut_end(safe(sentence), self._columns - 2)}"
            by = "who was asked by"
        yield from (f"  {line}" for line in given)


def name_of(task: Task) -> str:
    """The names that its lines give it, made safe."""
    return safe(task.names[0]) if task.names else f"{task.trace_id} (no name)"


def _both(agent_id: str, session_id: str, columns: int) -> str:
    """Agent and session, each cut on its own."""
    agent, session = safe(agent_id), safe(session_id)
    if width(agent) + width(session) < columns:
        return f"{agent} {session}"
    rest = max((columns - 1) // 2, columns - 1 - width(agent))
    session = cut(session, rest)
    return f"{cut(agent, columns - 1 - width(session))} {session}"


def _title(finding: Finding) -> str:
    return finding.topic.doing if finding.root_agent else sentences.kind_of(finding)


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _tokens(number: int | None) -> str:
    return formatting.count(number) if number else ""


def _money(dollars: float | None) -> str:
    return "" if dollars is None else formatting.money(dollars)

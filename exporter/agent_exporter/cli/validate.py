"""`agent-exporter validate`: every fault and every warning of every line, for people or for machines."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from typing import TYPE_CHECKING

from agent_exporter.cli.arguments import command, config_option, format_option
from agent_exporter.cli.console import Progress, encodable, say
from agent_exporter.cli.settings import config_of
from agent_exporter.text import plain, visible

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from agent_exporter.cli.arguments import Commands
    from agent_exporter.config import Config
    from agent_exporter.lines import Batch
    from agent_exporter.lint import Remark


def add(commands: Commands) -> None:
    """What may be typed after its name."""
    parser = command(
        commands, "validate", "check lines against the log schema",
        "Print every fault of every line that would be rejected as PATH:LINE: REASON: what to change, what is odd "
        "about a line as PATH:LINE: warning: KIND: what comes of it, both with the line there, and a summary. Exit "
        "code 1 if there are faults.",
    )  # fmt: skip
    config_option(parser)
    format_option(parser)
    parser.add_argument("--strict", action="store_true", help="exit code 1 for warnings, too")
    parser.add_argument("--json", action="store_true", help="a JSON object a line, the last one with the sums")
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    return _validate(config_of(options), options.paths, strict=options.strict, as_json=options.json)


def _validate(config: Config, paths: Sequence[str], *, strict: bool, as_json: bool) -> int:
    """Print what is wrong. Returns 0 if nothing is, 1 for faults (if `strict`, warnings, too), 2 for unread files."""
    from agent_exporter.action import MAX_AHEAD, Rejection  # noqa: PLC0415
    from agent_exporter.formats import Choice  # noqa: PLC0415
    from agent_exporter.lint import Lint, Remark  # noqa: PLC0415
    from agent_exporter.prices import Prices  # noqa: PLC0415
    from agent_exporter.records import Foreign  # noqa: PLC0415
    from agent_exporter.sources.once import numbered  # noqa: PLC0415

    report = _Report(as_json=as_json)
    choice = Choice.named(config.format)
    words, prices = config.statuses.words(), Prices(config.prices)
    latest = time.time() + MAX_AHEAD
    for path in paths:
        lint = Lint(words, prices)
        try:
            for number, line in numbered(path, choice, report.aside):
                report.count(path)
                if line is None:
                    report.reasons["too_long"] += 1
                    report.show(path, number, [Remark("too_long", "", "longer than 1 MiB")])
                    continue
                result, remarks = lint.line(line, latest)
                if isinstance(result, Foreign):
                    report.ignore(path, number)
                elif isinstance(result, Rejection):
                    report.reasons[result.reason] += 1
                report.show(path, number, remarks)
            report.show(path, None, [*lint.end(None if path == "-" else os.stat(path).st_mtime)])  # noqa: PTH116
        except BrokenPipeError:
            raise
        except OSError as error:
            report.problems.append(f"{path}: {error.strerror or error}")
    report.end()
    if report.problems:
        return 2
    return int(bool(report.reasons or (strict and report.warnings)))


class _Report:
    """What is printed, and what is counted for its last line."""

    def __init__(self, *, as_json: bool) -> None:
        self.lines = self.ignored = 0
        self.skipped: Counter[str] = Counter()
        """Records that a format has no rule for, by `format/type`; they are ignored, too."""
        self.reasons: Counter[str] = Counter()
        """Rejected lines, each by its first fault, as the exporter counts them."""
        self.warnings: Counter[str] = Counter()
        self.problems: list[str] = []
        self._as_json = as_json
        self._progress = Progress()

    def count(self, path: str) -> None:
        """One more line is read."""
        self.lines += 1
        if self.lines % 1000 == 0:
            self._progress.draw(f"{plain(path)}  {self.lines:,} lines")

    def aside(self, _: int, batch: Batch) -> None:
        """Count the records of a line that became no line of ours."""
        number = batch.silent + sum(batch.skipped.values())
        self.lines += number
        self.ignored += number
        self.skipped.update(batch.skipped)

    def ignore(self, path: str, number: int) -> None:
        """Count a line of another program. The first is named: where all lines should be records, that is odd."""
        self.ignored += 1
        if self.ignored == 1 and not self._as_json:
            self._progress.clear()
            print(f"{plain(path)}:{number}: ignored, as are all JSON objects without agent_id, session_id and action")

    def show(self, path: str, number: int | None, remarks: Sequence[Remark]) -> None:
        """Print remarks about a line, or about the file as a whole."""
        if not remarks:
            return
        self._progress.clear()
        self.warnings.update(remark.kind for remark in remarks if remark.is_warning)
        for remark in remarks:
            if self._as_json:
                level = "warning" if remark.is_warning else "error"
                print(json.dumps({"path": path, "line": number, "level": level, **remark._asdict()}))
                continue
            where = plain(path) if number is None else f"{plain(path)}:{number}"
            kind = f"warning: {remark.kind}" if remark.is_warning else remark.kind
            print(encodable(visible(f"{where}: {kind}: {remark.detail}")))
            if remark.excerpt:
                print(encodable(f"    {remark.excerpt}"))

    def end(self) -> None:
        """Print the sums, then what could not be read."""
        self._progress.clear()
        bad = self.reasons.total()
        if self._as_json:
            sums = {"lines": self.lines, "accepted": self.lines - bad - self.ignored, "ignored": self.ignored}
            kinds = {"rejected": self.reasons, "warnings": self.warnings}
            print(json.dumps(sums | kinds | ({"skipped": self.skipped} if self.skipped else {})), flush=True)
        elif self.lines or not self.problems:
            ignored = f"{self.ignored:,} ignored, " if self.ignored else ""
            good = self.lines - bad - self.ignored
            rejected = f"{good:,} accepted, {ignored}{bad:,} rejected{_by_kind(self.reasons)}"
            warned = self.warnings.total()
            warnings = f"; {warned:,} warning{'' if warned == 1 else 's'}{_by_kind(self.warnings)}" if warned else ""
            print(f"{self.lines:,} lines: {rejected}{warnings}", flush=True)
            if self.skipped:
                print(f"ignored as no rule of their format is for them{_by_kind(self.skipped)}", flush=True)
        for problem in self.problems:
            say(problem)


def _by_kind(counts: Counter[str]) -> str:
    return f" ({', '.join(f'{count:,} {kind}' for kind, count in counts.most_common())})" if counts else ""

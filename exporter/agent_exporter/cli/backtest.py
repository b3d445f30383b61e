"""`agent-exporter backtest`: what would have been found, paged and killed."""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from agent_exporter.cli.arguments import command, config_option, format_option
from agent_exporter.cli.console import Progress, say
from agent_exporter.cli.errors import Usage, unread
from agent_exporter.cli.notes import say_rejected, say_unpriced
from agent_exporter.cli.settings import config_of
from agent_exporter.text import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from agent_exporter.cli.arguments import Commands

NO_RULES = (
    "NOTE: these are the findings of the detectors alone. Silence, daily budgets and drift are Prometheus rules, and "
    "those are not evaluated: that takes prometheus and promtool on PATH, or named by PROMETHEUS_BIN and PROMTOOL_BIN. "
    "A log without findings may still have fired alerts."
)


def add(commands: Commands) -> None:
    """What may be typed after its name."""
    parser = command(
        commands, "backtest", "what would have been found, paged and stopped, from past logs",
        "Read past logs to their end and print every finding, and every alert that would have fired, as one "
        "line of JSON each, by time; a summary goes to standard error. Alerts take prometheus and promtool on PATH, or "
        "named by PROMETHEUS_BIN and PROMTOOL_BIN; without them there are findings only.",
    )  # fmt: skip
    config_option(parser)
    format_option(parser)
    parser.add_argument(
        "--rules",
        metavar="DIR",
        help="a folder of Prometheus rule files; default: the rules that come with this version",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from agent_exporter import backtest  # noqa: PLC0415
    from agent_exporter.backtest import prometheus, report, rules  # noqa: PLC0415

    config = config_of(options)
    drawn = Progress()
    progress = backtest.Progress(drawn.show, drawn.draw)
    programs = prometheus.find()
    plan = None
    try:
        with _ends_like_ctrl_c():
            if programs is None:
                say(NO_RULES)
                result = backtest.read(config, options.paths, progress)
            else:
                files, found = rules.read(Path(options.rules) if options.rules else rules.shipped())
                prometheus.check(programs, files)
                plan = rules.plan(found)
                result = backtest.evaluate(config, options.paths, progress, plan, programs)
    except OSError as error:
        raise unread(error) from error
    except (ValueError, prometheus.Failed) as error:
        raise Usage(str(error)) from error
    finally:
        drawn.clear()
    sys.stdout.buffer.write(b"".join(line + b"\n" for line in report.lines(result)))
    sys.stdout.buffer.flush()
    first, *others = report.summary(result, plan, config)
    say(first)
    for line in others:
        print(plain(line), file=sys.stderr)
    say_rejected(result.stages)
    say_unpriced(result.stages)
    return 0


@contextmanager
def _ends_like_ctrl_c() -> Iterator[None]:
    """SIGTERM is taken as an interrupt: programs are ended and folders removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""`agent-exporter explain`: one task as a tree, and what went wrong first in it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from agent_exporter.cli.arguments import command, config_option, format_option, identifier, seconds
from agent_exporter.cli.console import Progress, encodable, say
from agent_exporter.cli.errors import Usage, unread
from agent_exporter.cli.settings import config_of

if TYPE_CHECKING:
    import argparse

    from agent_exporter.cli.arguments import Commands
    from agent_exporter.explain import Answer
    from agent_exporter.explain.log import Log


def add(commands: Commands) -> None:
    """What may be typed after its name."""
    parser = command(
        commands, "explain", "show one task as a tree, and what went wrong first in it",
        "Find a task in past logs (plain, docker, CRI, .gz, .zst; - for standard input) and show it across all of its "
        "agents: what went wrong first and what that led to, in two sentences; the tree of who asked whom, with times, "
        'tokens, cost and retries; and what the detectors found. "Now" is the time of the newest line. Lines of '
        "several logs are put in order by their time. Exit code 1 if nothing fits.",
    )  # fmt: skip
    config_option(parser)
    format_option(parser)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument(
        "--trace", type=identifier, metavar="ID", help="a task, as its lines name it or as a trace viewer does (32 hex)"
    )
    chosen.add_argument("--session", type=identifier, metavar="ID", help="the task that a session is part of")
    chosen.add_argument(
        "--agent", type=identifier, metavar="ID", help="the tasks that an agent worked on lately, the worst first"
    )
    parser.add_argument("--since", type=seconds, metavar="1h", help="with --agent: how far back; default 1h")
    parser.add_argument(
        "--content", action="store_true",
        help="show what the first failure was given and answered; may be private",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON document instead, as docs/explain.md has it")
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from agent_exporter.explain import SINCE, Missing, explain  # noqa: PLC0415
    from agent_exporter.explain.document import write  # noqa: PLC0415
    from agent_exporter.explain.unpack import open_logs  # noqa: PLC0415

    config = config_of(options)
    if options.since is not None and options.agent is None:
        raise Usage("--since goes with --agent: a trace and a session are shown whole")
    progress = Progress()
    logs: list[Log] = []
    answer = None
    try:
        with open_logs(options.paths, progress.show, time.time(), config.statuses.words(), config.format) as logs:
            answer = explain(
                config, logs,
                trace=options.trace, session=options.session, agent=options.agent, since=options.since or SINCE,
            )  # fmt: skip
    except OSError as error:
        raise unread(error) from error
    except Missing as missing:
        progress.clear()
        say(str(missing))
    progress.clear()
    broken = [log for log in logs if log.problem is not None]
    for log in broken:
        say(f"{log.name}: {log.problem}; only what comes before is looked at")
    if answer is None:
        return 1
    if options.json:
        print(write(answer, content=options.content))
    else:
        _print_page(answer, options)
    return bool(broken)


def _print_page(answer: Answer, options: argparse.Namespace) -> None:
    """As wide as the terminal, in colour there; 100 columns and none elsewhere."""
    from agent_exporter.explain.given import contents, sizes  # noqa: PLC0415
    from agent_exporter.explain.page import Page  # noqa: PLC0415
    from agent_exporter.explain.terminal import Paint  # noqa: PLC0415

    terminal = sys.stdout.isatty()
    columns = shutil.get_terminal_size((100, 24)).columns if terminal else 100
    page = Page(
        Paint(colour=terminal and not os.environ.get("NO_COLOR")),
        columns,
        lambda agent, session: session == options.session or agent == options.agent,
    )
    for line in page.answer(answer, partial(contents, columns=columns - 2) if options.content else sizes):
        print(encodable(line))

"""`agent-exporter benchmark`: give agents inputs whose answers are known."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from agent_exporter.cli.arguments import command, config_option
from agent_exporter.cli.console import Progress, say
from agent_exporter.cli.errors import Failed, Usage, unread
from agent_exporter.cli.settings import asked, config_of

if TYPE_CHECKING:
    import argparse

    from agent_exporter.cli.arguments import Commands
    from agent_exporter.config import Config


def add(commands: Commands) -> None:
    """What may be typed after its name."""
    parser = command(
        commands, "benchmark", "give agents inputs whose answers are known",
        "Run every benchmark of the config, or one, and print a table. Exit code 1 if one has regressed (less than "
        "nine answers in ten are as expected) or an agent does not answer. With --record, print a suite made from a "
        "log of good sessions.",
    )  # fmt: skip
    config_option(parser)
    parser.add_argument("--agent", metavar="AGENT", help="only this one")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("--record", nargs="+", metavar="LOG", help="print a suite; run nothing")
    parser.add_argument("suite", nargs="?", metavar="SUITE", help="its name under benchmarks in the config")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from agent_exporter.benchmark.once import runs_of  # noqa: PLC0415
    from agent_exporter.benchmark.report import document, table  # noqa: PLC0415
    from agent_exporter.probes.endpoint import RequestError  # noqa: PLC0415

    if options.record:
        return _record(options)
    config = config_of(options)
    pairs = _pairs(config, options)
    progress = Progress()
    done = []
    try:
        for run in runs_of(config, pairs, progress=progress.draw, say=say):
            progress.clear()
            done.append(run)
            if not options.json:
                print(table(*run), flush=True)
    except RequestError as error:
        raise Usage(str(error)) from error
    finally:
        progress.clear()
    if options.json:
        print(json.dumps(document(done), indent=2))
    return 1 if len(done) < len(pairs) or any(report.regressed for report, _ in done) else 0


def _pairs(config: Config, options: argparse.Namespace) -> list[tuple[str, str]]:
    """(agent, benchmark) of all that is to be run."""
    agents = asked(config, options.agent)
    suites = {name: suite for name, suite in config.benchmarks.items() if options.suite in {None, name}}
    if not suites:
        missing = "no benchmarks" if options.suite is None else f"no benchmark {options.suite!a}"
        known = f": there are {', '.join(config.benchmarks)}" if config.benchmarks else ""
        raise Usage(f"{missing} in the file of --config{known}")
    pairs = [(agent, name) for name, suite in suites.items() for agent in suite.agents if agent in agents]
    if not pairs:
        raise Usage(f"{options.agent!a} is not among the agents of {', '.join(suites)}")
    return pairs


def _record(options: argparse.Namespace) -> int:
    from agent_exporter.benchmark.record import NothingGood, record  # noqa: PLC0415

    try:
        recorded = record(options.record, options.agent)
    except OSError as error:
        raise unread(error) from error
    except NothingGood as error:
        raise Failed(str(error)) from error
    sys.stdout.write(recorded.text)
    say(f"good sessions: {recorded.sessions:,} of {recorded.seen:,}; cases: {recorded.cases:,}, with different inputs")
    return 0

"""`agent-exporter healthcheck`: ask a running exporter whether it is well."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from agent_exporter.cli.arguments import command, config_option
from agent_exporter.cli.settings import config_of

if TYPE_CHECKING:
    import argparse

    from agent_exporter.cli.arguments import Commands


def add(commands: Commands) -> None:
    """What may be typed after its name."""
    parser = command(
        commands, "healthcheck", "ask a running exporter whether it is well",
        "For containers: exit code 0 if the exporter on this machine answers at /-/healthy, 1 if not.",
    )  # fmt: skip
    config_option(parser)
    parser.add_argument("--web.listen-address", dest="listen", metavar="HOST:PORT", help="where it listens")
    parser.add_argument("--ready", action="store_true", help="ask /-/ready instead")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from agent_exporter.healthcheck import check  # noqa: PLC0415

    problem = check(config_of(options), ready=options.ready)
    if problem is None:
        return 0
    print(problem, file=sys.stderr)
    return 1

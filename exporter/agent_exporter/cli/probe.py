"""`agent-exporter probe`: ask agents whether they can do their job."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agent_exporter.cli.arguments import command, config_option
from agent_exporter.cli.errors import Usage
from agent_exporter.cli.settings import asked, config_of

if TYPE_CHECKING:
    import argparse

    from agent_exporter.cli.arguments import Commands


def add(commands: Commands) -> None:
    """What may be typed after its name."""
    parser = command(
        commands, "probe", "ask agents whether they can do their job",
        "Run the health checks of every agent that has an endpoint, or of one, and print a JSON document for each: "
        "alive, its model answers, sums come out right, memory is connected, and what the config adds. Exit code 1 "
        "if one is unhealthy.",
    )  # fmt: skip
    config_option(parser)
    parser.add_argument("agent", nargs="?", metavar="AGENT", help="one that has agents.AGENT.endpoint in the config")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415

    from agent_exporter.probes.endpoint import RequestError  # noqa: PLC0415
    from agent_exporter.probes.once import probe  # noqa: PLC0415
    from agent_exporter.probes.settings import checks_of  # noqa: PLC0415

    config = config_of(options)
    chosen = [checks for name in asked(config, options.agent) if (checks := checks_of(config, name))]
    if not chosen:
        raise Usage("no agent has both an endpoint and a check: agents.NAME.endpoint in the file of --config")
    try:
        documents = asyncio.run(probe(chosen))
    except RequestError as error:
        raise Usage(str(error)) from error
    for document in documents:
        print(json.dumps(document, indent=2))
    return 0 if all(document["healthy"] for document in documents) else 1

"""`agent-exporter run`: follow logs, serve /metrics, send spans."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from agent_exporter.cli.arguments import command, config_option, endpoint_option, format_option, seconds
from agent_exporter.cli.console import logging_in_background
from agent_exporter.cli.errors import Usage, unread
from agent_exporter.cli.settings import config_of
from agent_exporter.cli.state_folder import with_state
from agent_exporter.config.values import DEFAULT_LISTEN

if TYPE_CHECKING:
    import argparse

    from agent_exporter.cli.arguments import Commands


def add(commands: Commands) -> None:
    """What may be typed after its name."""
    parser = command(
        commands, "run", "follow logs and serve /metrics",
        "Follow files, standard input and /v1/logs; serve /metrics; send spans. Files are read from their beginning, "
        "and after a restart from where they were left if there is a state file. SIGHUP reads the config again, "
        "SIGTERM ends.",
    )  # fmt: skip
    config_option(parser)
    format_option(parser)
    parser.add_argument("--web.listen-address", dest="listen", metavar="HOST:PORT", help=f"default {DEFAULT_LISTEN}")
    parser.add_argument(
        "--state.path", dest="state", metavar="FILE",
        help="remember counters and offsets here, or none (default: in $STATE_DIRECTORY or "
        "$XDG_STATE_HOME/agent-exporter, a folder for each set of sources)",
    )  # fmt: skip
    endpoint_option(parser)
    parser.add_argument(
        "--otlp.buffer-traces", dest="buffer_traces", type=seconds, metavar="10m",
        help="for a collector that samples: send a trace's spans together, at its end or after this long",
    )  # fmt: skip
    parser.add_argument(
        "paths", nargs="*", metavar="PATH|GLOB|-",
        help="files to follow; quote a glob, so that new files are found; - is standard input",
    )  # fmt: skip
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from agent_exporter.server import AddressInUse  # noqa: PLC0415
    from agent_exporter.service import Exporter  # noqa: PLC0415

    config = config_of(options)
    path = Path(options.config) if options.config else None
    try:
        paths = list(map(os.path.expanduser, options.paths))  # the shell has done it, but for what is quoted
        with logging_in_background():
            return Exporter(with_state(config, paths), path, paths).run()
    except AddressInUse as error:
        raise Usage(f"{error}; --web.listen-address HOST:PORT names another") from error
    except OSError as error:
        raise unread(error) from error

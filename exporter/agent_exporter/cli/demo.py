"""`agent-exporter demo`: a simulated fleet, and what this makes of it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from agent_exporter.cli.arguments import command, seconds
from agent_exporter.cli.errors import Usage
from agent_exporter.config.values import listen_fault

if TYPE_CHECKING:
    from agent_exporter.cli.arguments import Commands

FAULTS = ("loop", "budget", "silent", "cascade", "drift")
"""Of the demo, whose modules are not imported before they are wanted; a test compares."""


def add(commands: Commands) -> None:
    """What may be typed after its name."""
    parser = command(
        commands, "demo", "a simulated fleet, and what this makes of it",
        "Run ten simulated agents in four teams through a real exporter, with the status page; no Docker, no "
        "network. With --fault something goes wrong with them, and shows on the page within a minute.",
    )  # fmt: skip
    parser.add_argument(
        "--fault", action="append", default=[], choices=FAULTS,
        help="what goes wrong: " + ", ".join(FAULTS) + "; may be given more than once",
    )  # fmt: skip
    parser.add_argument(
        "--speed", type=_speed, default=1.0, metavar="N", help="work N times as fast, 0.1 to 20; default 1"
    )
    parser.add_argument("--duration", type=seconds, metavar="10m", help="end by itself after this long")
    parser.add_argument("--port", type=_port, default=10777, metavar="N", help="of the exporter; default 10777")
    parser.add_argument(
        "--enforce", action="store_true", help="stop sessions that loop or pass their budget, as docs/breaker.md has it"
    )
    parser.add_argument("--mailbox", type=int, help=argparse.SUPPRESS)  # the descriptor of the socket to be told at
    parser.add_argument(
        "--stdout", action="store_true",
        help="only the agents, their lines to standard output: agent-exporter demo --stdout | agent-exporter run -",
    )  # fmt: skip
    parser.add_argument(
        "--answer", metavar="HOST:PORT", help="with --stdout: where they answer health checks and are told to stop"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        from agent_exporter.demo.show import fleet_only, show  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name != "agentlog":
            raise
        raise Usage("the demo's agents are written with agentlog: install that, too") from error
    faults = list(dict.fromkeys(options.fault))
    if options.stdout:
        if options.answer and (fault := listen_fault(options.answer)):
            raise Usage(f"--answer: {fault}")
        return fleet_only(faults, options.speed, options.duration, options.mailbox or options.answer)
    try:
        return show(faults, options.speed, options.duration, f"127.0.0.1:{options.port}", enforce=options.enforce)
    except OSError as error:
        raise Usage(f"{error}; name another with --port (make demo PORT=...)") from error


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from error
    if not 0.1 <= speed <= 20:
        raise argparse.ArgumentTypeError(f"must be 0.1 to 20, not {text}")
    return speed


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be 0 to 65535, not {text!r}")
    return int(text)

"""`agent-exporter breaker`: see and steer what stops sessions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from agent_exporter.cli.arguments import command, config_option
from agent_exporter.cli.console import say
from agent_exporter.cli.errors import Usage
from agent_exporter.cli.settings import config_of

if TYPE_CHECKING:
    from agent_exporter.cli.arguments import Commands


def add(commands: Commands) -> None:
    """What may be typed after its name."""
    parser = command(
        commands, "breaker", "see and steer what stops sessions",
        "Orders for a running exporter, given by its own user on its own machine through a socket beside its state "
        "file; and a check of the audit log. docs/breaker.md says when to use which.",
    )  # fmt: skip
    orders = parser.add_subparsers(dest="order", required=True, metavar="ORDER")
    where = argparse.ArgumentParser(add_help=False)
    config_option(where)
    where.add_argument("--state.path", dest="state", metavar="FILE", help="of the exporter that is meant")
    status = orders.add_parser("status", parents=[where], help="what it is doing, and to which sessions")
    status.add_argument("--json", action="store_true", help="as JSON")
    unlatch = orders.add_parser("unlatch", parents=[where], help="have it stop sessions again, after you have looked")
    unlatch.add_argument("--agent", metavar="NAME", help="for this agent only; without it, for all")
    extend = orders.add_parser("extend", parents=[where], help="let one session use more than its task type allows")
    extend.add_argument("session", metavar="SESSION")
    extend.add_argument("--agent", metavar="NAME", help="whose session, if several agents have one of this id")
    extend.add_argument("--tokens", type=_amount, default=0, metavar="N", help="so many more")
    extend.add_argument("--cost-usd", type=_dollars, default=0.0, metavar="X", help="so many dollars more")
    verify = orders.add_parser(
        "verify",
        parents=[where],
        help="check an audit log by its chain and the state; exit code 1 if it was changed",
    )
    verify.add_argument("audit_log", nargs="?", metavar="AUDIT_LOG", help="by default that of --config or --state.path")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from agent_exporter.breaker import client  # noqa: PLC0415
    from agent_exporter.state import Unavailable  # noqa: PLC0415

    if options.order == "verify":
        config = config_of(options)
        audit_log = Path(options.audit_log) if options.audit_log else config.audit_log()
        if audit_log is None:
            raise Usage("which audit log? name it, or its exporter's config with --config")
        try:
            sentences, sound = client.verified(audit_log, config.state.file)
        except OSError as error:
            raise Usage(f"{audit_log}: {error.strerror or error}") from error
        except Unavailable as error:
            raise Usage(str(error)) from error
        print("\n".join(sentences))
        return 0 if sound else 1
    path = config_of(options).control_socket()
    if path is None:
        raise Usage("which exporter? name its state file with --state.path, or its config with --config")
    try:
        print(client.order(path, options))
    except client.Refused as error:
        say(str(error))
        return 1
    return 0


def _amount(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 10**12:
        raise argparse.ArgumentTypeError(f"must be a whole number above zero, not {text!r}")
    return int(text)


def _dollars(text: str) -> float:
    try:
        dollars = float(text)
    except ValueError:
        dollars = 0.0
    if not 0 < dollars <= 1e6:
        raise argparse.ArgumentTypeError(f"must be dollars above zero, not {text!r}")
    return dollars

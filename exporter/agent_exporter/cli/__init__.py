"""The command line. Exit codes: 0 fine, 1 something is wrong with the input, 2 wrong use, config or a locked state.

Each command is a module with its name: `add` defines its arguments and help, `_run` runs it. What
only one command needs is imported where it runs, so that the others start faster. They share

arguments  what several commands take, and how an argument is read
settings   the config of a command: the file's, with those of the command line over them
console    messages, log lines and progress on standard error
notes      messages about the lines that were read
errors     why a command failed, as a sentence
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from agent_exporter import __version__
from agent_exporter.cli import (
    backtest,
    benchmark,
    breaker,
    check_config,
    console,
    demo,
    explain,
    formats,
    healthcheck,
    probe,
    replay,
    run,
    schema,
    validate,
)
from agent_exporter.cli.arguments import EPILOGUE
from agent_exporter.cli.errors import Failed, Usage
from agent_exporter.config.strict import ConfigError
from agent_exporter.state import Locked

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["command", "main"]

COMMANDS = (
    run,
    replay,
    backtest,
    explain,
    validate,
    formats,
    check_config,
    probe,
    benchmark,
    schema,
    breaker,
    demo,
    healthcheck,
)
"""In the order of `--help`."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit."""
    sys.exit(command(arguments))


def command(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = _parser().parse_args(arguments)
    console.log_to_stderr()
    try:
        return int(options.run(options))
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
    except (Usage, Locked) as error:
        print(f"agent-exporter: {error}", file=sys.stderr)
    except Failed as error:
        console.say(str(error))
        return 1
    except BrokenPipeError:
        # The reader of our output has closed it, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return 2


def _parser() -> argparse.ArgumentParser:
    """The parser of the whole command line. Its results have the function to call as `run`."""
    parser = argparse.ArgumentParser(
        prog="agent-exporter",
        description="Prometheus metrics and OTLP traces from the JSON lines that AI agents print.",
        epilog=EPILOGUE,
    )
    parser.add_argument("--version", action="version", version=f"agent-exporter {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for each in COMMANDS:
        each.add(commands)
    return parser

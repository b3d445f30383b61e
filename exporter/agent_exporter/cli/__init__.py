"""The command line. Exit codes: 0 fine, 1 something is wrong with the input, 2 wrong use, config or a locked state.

arguments  what may be typed, and what `--help` says of it
settings   the config of a command: the file's, with those of the command line over them
commands   what each command does
console    what is told beside its output: messages, log lines, and how far it is
errors     why it was not done, as a sentence
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from agent_exporter.cli import console
from agent_exporter.cli.arguments import parser
from agent_exporter.cli.commands import COMMANDS
from agent_exporter.cli.errors import Failed, Usage
from agent_exporter.config.strict import ConfigError
from agent_exporter.state import Locked

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["command", "main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit."""
    sys.exit(command(arguments))


def command(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = parser().parse_args(arguments)
    console.log_to_stderr()
    try:
        return COMMANDS[options.command](options)
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
    except (Usage, Locked) as error:
        print(f"agent-exporter: {error}", file=sys.stderr)
    except Failed as error:
        console.say(str(error))
        return 1
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does: what it wanted it has.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return 2

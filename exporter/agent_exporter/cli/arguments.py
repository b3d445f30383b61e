"""What several commands take, and how an argument is read. argparse ends the program with exit code 2 for any other."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from agent_exporter.config.values import duration

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  (it has no other name)
EPILOGUE = """\
exit codes: 0 fine; 1 something is wrong with the input; 2 wrong use, wrong config, or a state file in use
"""


def command(commands: Commands, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    """The parser of one command; its module has `run` as a default, which is called with what was typed."""
    return commands.add_parser(name, help=summary, description=description, epilog=EPILOGUE)


def config_option(parser: argparse.ArgumentParser) -> None:
    """`--config`, which `settings.config_of` reads."""
    parser.add_argument("--config", metavar="FILE", help="a YAML file; without one, defaults serve")


def format_option(parser: argparse.ArgumentParser) -> None:
    """`--format`, of commands that read logs."""
    parser.add_argument(
        "--format",
        metavar="NAME|FILE",
        help="format of the logs: a name that `agent-exporter formats` lists, or a file; default: what the lines show",
    )


def endpoint_option(parser: argparse.ArgumentParser) -> None:
    """`--otlp.endpoint`, of commands that send spans."""
    parser.add_argument("--otlp.endpoint", dest="endpoint", metavar="URL", help="send spans here, http://HOST:4318")


def identifier(text: str) -> str:
    """Any text but none."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def seconds(text: str) -> float:
    """A duration as the config has it, or a whole number of seconds."""
    try:
        return duration(f"{text}s" if text.isdecimal() else text)  # of a command alone, seconds need no unit
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error

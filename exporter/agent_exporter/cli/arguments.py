"""What may be typed, and what `--help` says of it. argparse ends the program with exit code 2 for anything else."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from agent_exporter import __version__
from agent_exporter.config.values import DEFAULT_LISTEN, duration

FAULTS = ("loop", "budget", "silent", "cascade", "drift")
"""Of the demo, whose modules are not imported before they are wanted; a test compares."""
_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  (it has no other name)
EPILOGUE = """\
exit codes: 0 fine; 1 something is wrong with the input; 2 wrong use, wrong config, or a state file in use
"""


def parser() -> argparse.ArgumentParser:
    """Of the whole command line. `command` is the name of a command in its answers, `order` one of `breaker`."""
    parser = argparse.ArgumentParser(
        prog="agent-exporter",
        description="Prometheus metrics and OTLP traces from the JSON lines that AI agents print.",
        epilog=EPILOGUE,
    )
    parser.add_argument("--version", action="version", version=f"agent-exporter {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for add in (
        _run,
        _replay,
        _backtest,
        _explain,
        _validate,
        _check_config,
        _probe,
        _benchmark,
        _schema,
        _breaker,
        _demo,
        _healthcheck,
    ):
        add(commands)
    return parser


def _run(commands: _Commands) -> None:
    parser = _command(
        commands, "run", "follow logs and serve /metrics",
        "Follow files, standard input and /v1/logs; serve /metrics; send spans. Files are read from their beginning, "
        "and after a restart from where they were left if there is a state file. SIGHUP reads the config again, "
        "SIGTERM ends.",
    )  # fmt: skip
    _config_option(parser)
    parser.add_argument("--web.listen-address", dest="listen", metavar="HOST:PORT", help=f"default {DEFAULT_LISTEN}")
    parser.add_argument(
        "--state.path", dest="state", metavar="FILE",
        help="remember counters and offsets here, or none (default: in $STATE_DIRECTORY or "
        "$XDG_STATE_HOME/agent-exporter, a folder for each set of sources)",
    )  # fmt: skip
    _endpoint_option(parser)
    parser.add_argument(
        "--otlp.buffer-traces", dest="buffer_traces", type=_duration, metavar="10m",
        help="for a collector that samples: send a trace's spans together, at its end or after this long",
    )  # fmt: skip
    parser.add_argument(
        "paths", nargs="*", metavar="PATH|GLOB|-",
        help="files to follow; quote a glob, so that new files are found; - is standard input",
    )  # fmt: skip


def _replay(commands: _Commands) -> None:
    parser = _command(
        commands, "replay", "read logs to the end and print their metrics",
        "Read logs of the past (plain, docker, CRI, .gz, - for standard input) to their end and print the exposition. "
        '"Now" is the time of the newest line.',
    )  # fmt: skip
    _config_option(parser)
    parser.add_argument("--openmetrics", action="store_true", help="OpenMetrics, with _created and exemplars")
    parser.add_argument(
        "--step", type=_duration, metavar="15s",
        help="print the exposition at every step of the log's own time, with timestamps, "
        "for `promtool tsdb create-blocks-from openmetrics`",
    )  # fmt: skip
    _endpoint_option(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH")


def _backtest(commands: _Commands) -> None:
    parser = _command(
        commands, "backtest", "what would have been found, paged and killed, from logs of the past",
        "Read logs of the past to their end and print every finding, and every alert that would have fired, as one "
        "line of JSON each, by time; a summary goes to standard error. Alerts take prometheus and promtool on PATH, or "
        "named by PROMETHEUS_BIN and PROMTOOL_BIN; without them there are findings only.",
    )  # fmt: skip
    _config_option(parser)
    parser.add_argument(
        "--rules",
        metavar="DIR",
        help="a folder of Prometheus rule files; default: the rules that come with this version",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH")


def _explain(commands: _Commands) -> None:
    parser = _command(
        commands, "explain", "show one task as a tree, and what went wrong first in it",
        "Find a task in logs of the past (plain, docker, CRI, .gz, - for standard input) and show it across all of its "
        "agents: what went wrong first and what that led to, in two sentences; the tree of who asked whom, with times, "
        'tokens, cost and retries; and what the detectors found. "Now" is the time of the newest line. Lines of '
        "several logs are put in order by their time. Exit code 1 if nothing fits.",
    )  # fmt: skip
    _config_option(parser)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument(
        "--trace", type=_id, metavar="ID", help="a task, as its lines name it or as a trace viewer does (32 hex)"
    )
    wanted.add_argument("--session", type=_id, metavar="ID", help="the task that a session is part of")
    wanted.add_argument(
        "--agent", type=_id, metavar="ID", help="the tasks that an agent worked on lately, the worst first"
    )
    parser.add_argument("--since", type=_duration, metavar="1h", help="with --agent: how far back; default 1h")
    parser.add_argument(
        "--content", action="store_true",
        help="show what the first failure was given and answered; may be private",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON document instead, as docs/explain.md has it")
    parser.add_argument("paths", nargs="+", metavar="PATH")


def _validate(commands: _Commands) -> None:
    parser = _command(
        commands, "validate", "check lines against the log schema",
        "Print every fault of every line that would be rejected as PATH:LINE: REASON: what to change, what is odd "
        "about a line as PATH:LINE: warning: KIND: what comes of it, both with the line there, and a summary. Exit "
        "code 1 if there are faults.",
    )  # fmt: skip
    _config_option(parser)
    parser.add_argument("--strict", action="store_true", help="exit code 1 for warnings, too")
    parser.add_argument("--json", action="store_true", help="a JSON object a line, the last one with the sums")
    parser.add_argument("paths", nargs="+", metavar="PATH")


def _check_config(commands: _Commands) -> None:
    parser = _command(
        commands, "check-config", "check a config file",
        "Print every fault of a config file with its path, all at once. Exit code 2 if there are any.",
    )  # fmt: skip
    parser.add_argument("file", metavar="FILE")


def _probe(commands: _Commands) -> None:
    parser = _command(
        commands, "probe", "ask agents whether they can do their job",
        "Run the health checks of every agent that has an endpoint, or of one, and print a JSON document for each: "
        "alive, its model answers, sums come out right, memory is connected, and what the config adds. Exit code 1 "
        "if one is unhealthy.",
    )  # fmt: skip
    _config_option(parser)
    parser.add_argument("agent", nargs="?", metavar="AGENT", help="one that has agents.AGENT.endpoint in the config")


def _benchmark(commands: _Commands) -> None:
    parser = _command(
        commands, "benchmark", "give agents inputs whose answers are known",
        "Run every benchmark of the config, or one, and print a table. Exit code 1 if one has regressed (less than "
        "nine answers in ten are as expected) or an agent does not answer. With --record, print a suite made from a "
        "log of good sessions.",
    )  # fmt: skip
    _config_option(parser)
    parser.add_argument("--agent", metavar="AGENT", help="only this one")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("--record", nargs="+", metavar="LOG", help="print a suite; run nothing")
    parser.add_argument("suite", nargs="?", metavar="SUITE", help="its name under benchmarks in the config")


def _schema(commands: _Commands) -> None:
    _command(
        commands, "schema", "print the JSON Schema of a line",
        "Print the JSON Schema (2020-12) of one line, made from the types that decode it.",
    )  # fmt: skip


def _breaker(commands: _Commands) -> None:
    parser = _command(
        commands, "breaker", "see and steer what stops sessions",
        "Orders for a running exporter, given by its own user on its own machine through a socket beside its state "
        "file; and a check of the audit log. docs/breaker.md says when to use which.",
    )  # fmt: skip
    orders = parser.add_subparsers(dest="order", required=True, metavar="ORDER")
    where = argparse.ArgumentParser(add_help=False)
    _config_option(where)
    where.add_argument("--state.path", dest="state", metavar="FILE", help="of the exporter that is meant")
    status = orders.add_parser("status", parents=[where], help="what it is doing, and to which sessions")
    status.add_argument("--json", action="store_true", help="as JSON")
    orders.add_parser("unlatch", parents=[where], help="have it stop sessions again, after you have looked")
    extend = orders.add_parser("extend", parents=[where], help="let one session use more than its task type allows")
    extend.add_argument("session", metavar="SESSION")
    extend.add_argument("--agent", metavar="NAME", help="whose session, if several agents have one of this id")
    extend.add_argument("--tokens", type=_amount, default=0, metavar="N", help="so many more")
    extend.add_argument("--cost-usd", type=_dollars, default=0.0, metavar="X", help="so many dollars more")
    verify = orders.add_parser("verify", help="check the chain of an audit log; exit code 1 if it is broken")
    verify.add_argument("audit_log", metavar="AUDIT_LOG")


def _demo(commands: _Commands) -> None:
    parser = _command(
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
    parser.add_argument("--duration", type=_duration, metavar="10m", help="end by itself after this long")
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


def _healthcheck(commands: _Commands) -> None:
    parser = _command(
        commands, "healthcheck", "ask a running exporter whether it is well",
        "For containers: exit code 0 if the exporter on this machine answers at /-/healthy, 1 if not.",
    )  # fmt: skip
    _config_option(parser)
    parser.add_argument("--web.listen-address", dest="listen", metavar="HOST:PORT", help="where it listens")
    parser.add_argument("--ready", action="store_true", help="ask /-/ready instead")


def _command(commands: _Commands, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=summary, description=description, epilog=EPILOGUE)


def _config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", help="a YAML file; without one, defaults serve")


def _endpoint_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--otlp.endpoint", dest="endpoint", metavar="URL", help="send spans here, http://HOST:4318")


def _id(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def _duration(text: str) -> float:
    try:
        return duration(f"{text}s" if text.isdecimal() else text)  # of a command alone, seconds need no unit
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from error
    if not 0.1 <= speed <= 20:
        raise argparse.ArgumentTypeError(f"must be 0.1 to 20, not {text}")
    return speed


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


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"must be 0 to 65535, not {text!r}")
    return int(text)

"""The command line. Exit codes: 0 fine, 1 something is wrong with the input, 2 wrong use, config or a locked state."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import signal
import sys
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from exporter import __version__
from exporter.action import MAX_AHEAD, Rejection, decode
from exporter.config import (
    DEFAULT_LISTEN,
    Config,
    ConfigError,
    Duration,
    duration,
    listen_fault,
    load,
    parse,
    plain,
    url_fault,
)
from exporter.schema import schema
from exporter.sources.once import numbered
from exporter.state import Locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from exporter.explain.log import Log, Reading
    from exporter.stages import Stages

FAULTS = ("loop", "budget", "silent", "cascade", "drift")
"""Of the demo, whose modules are not imported before they are wanted; a test compares."""
EPILOGUE = """\
exit codes: 0 fine; 1 something is wrong with the input; 2 wrong use, wrong config, or a state file in use
"""


NO_RULES = (
    "NOTE: these are the findings of the detectors alone. Silence, daily budgets and drift are Prometheus rules, and "
    "those are not evaluated: that takes prometheus and promtool on PATH, or named by PROMETHEUS_BIN and PROMTOOL_BIN. "
    "A log without findings may still have fired alerts."
)


class Usage(Exception):  # noqa: N818  (it is what the user gets)
    """A sentence about what was asked for wrongly: exit code 2."""


class Failed(Exception):  # noqa: N818  (the same)
    """A sentence about what went wrong with the input: exit code 1."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit."""
    sys.exit(command(arguments))


def command(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    options = _parser().parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("tornado").setLevel(logging.CRITICAL)  # what a client does wrong is counted, not logged
    try:
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except ConfigError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
    except (Usage, Locked) as error:
        print(f"agent-exporter: {error}", file=sys.stderr)
    except Failed as error:
        print(f"agent-exporter: {plain(str(error))}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does: what it wanted it has.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return 2


# --- commands ------------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace) -> int:
    from exporter.server import Taken  # noqa: PLC0415
    from exporter.service import Exporter  # noqa: PLC0415  (the other commands start faster without)

    config = _config(options)
    path = Path(options.config) if options.config else None
    try:
        return Exporter(config, path, options.paths).run()
    except Taken as error:
        raise Usage(f"{error}; --web.listen-address HOST:PORT names another") from error
    except OSError as error:
        raise Usage(_unread(error)) from error


def _replay(options: argparse.Namespace) -> int:
    from exporter.replay import replay, replay_in_steps  # noqa: PLC0415
    from exporter.stages import render  # noqa: PLC0415

    config = _config(options)
    progress = Progress()
    try:
        if options.step is not None:
            for page in replay_in_steps(config, options.paths, options.step):
                sys.stdout.buffer.write(page)
            return 0
        stages = replay(config, options.paths, progress.show)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Usage(_unread(error)) from error
    progress.clear()
    pipeline = stages.pipeline
    accept = "application/openmetrics-text; version=1.0.0" if options.openmetrics else "text/plain"
    sys.stdout.buffer.write(render(pipeline.store.committed, stages.live(pipeline.newest), accept)[1])
    sys.stdout.buffer.flush()
    _say_rejected(stages)
    return 1 if any(getattr(source, "problems", None) for source in pipeline.sources) else 0


def _backtest(options: argparse.Namespace) -> int:
    from exporter import backtest  # noqa: PLC0415
    from exporter.backtest import prometheus, report, rules  # noqa: PLC0415

    config = _config(options)
    drawn = Progress()
    progress = backtest.Progress(drawn.show, drawn.draw)
    programs = prometheus.find()
    plan = None
    try:
        with _ends_like_ctrl_c():
            if programs is None:
                _say(NO_RULES)
                told = backtest.read(config, options.paths, progress)
            else:
                files, found = rules.read(Path(options.rules) if options.rules else rules.shipped())
                prometheus.check(programs, files)
                plan = rules.plan(found)
                told = backtest.evaluate(config, options.paths, progress, plan, programs)
    except OSError as error:
        raise Usage(_unread(error)) from error
    except (ValueError, prometheus.Failed) as error:
        raise Usage(str(error)) from error
    finally:
        drawn.clear()
    sys.stdout.buffer.write(b"".join(line + b"\n" for line in report.lines(told)))
    sys.stdout.buffer.flush()
    first, *others = report.summary(told, plan, config)
    _say(first)
    for line in others:
        print(plain(line), file=sys.stderr)
    _say_rejected(told.stages)
    return 0


@contextmanager
def _ends_like_ctrl_c() -> Iterator[None]:
    """SIGTERM is taken as an interrupt: programs are ended and folders removed."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say_rejected(stages: Stages) -> None:
    for source in stages.pipeline.sinks.tally.sources.values():
        rejected = sum(source.rejected.values())
        if rejected:
            _say(f"{source.source}: {rejected:,} of {source.read:,} lines rejected; `agent-exporter validate` says why")


def _explain(options: argparse.Namespace) -> int:
    from exporter.explain import SINCE, Missing, explain  # noqa: PLC0415
    from exporter.explain.document import write  # noqa: PLC0415
    from exporter.explain.given import contents, sizes  # noqa: PLC0415
    from exporter.explain.page import Page  # noqa: PLC0415
    from exporter.explain.terminal import Paint  # noqa: PLC0415
    from exporter.explain.unpack import open_logs  # noqa: PLC0415

    config = _config(options)
    if options.since is not None and options.agent is None:
        raise Usage("--since goes with --agent: a trace and a session are shown whole")
    progress = Progress()
    logs: list[Log] = []
    answer = None
    try:
        with open_logs(options.paths, progress.show, time.time()) as logs:
            answer = explain(
                config, logs,
                trace=options.trace, session=options.session, agent=options.agent, since=options.since or SINCE,
            )  # fmt: skip
    except OSError as error:
        raise Usage(_unread(error)) from error
    except Missing as missing:
        progress.clear()
        _say(str(missing))
    progress.clear()
    broken = [log for log in logs if log.problem is not None]
    for log in broken:
        _say(f"{log.name}: {log.problem}; only what comes before is looked at")
    if answer is None:
        return 1
    if options.json:
        print(write(answer, content=options.content))
        return bool(broken)
    terminal = sys.stdout.isatty()
    columns = shutil.get_terminal_size((100, 24)).columns if terminal else 100
    page = Page(
        Paint(colour=terminal and not os.environ.get("NO_COLOR")),
        columns,
        lambda agent, session: session == options.session or agent == options.agent,
    )
    for line in page.answer(answer, partial(contents, columns=columns - 2) if options.content else sizes):
        print(_encodable(line))
    return bool(broken)


def _encodable(line: str) -> str:
    """The line with question marks for what standard output cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, "replace").decode(encoding)


def _validate(options: argparse.Namespace) -> int:
    reasons: Counter[str] = Counter()
    progress = Progress()
    total = 0
    latest = time.time() + MAX_AHEAD
    for path in options.paths:
        shown = plain(path)
        try:
            for number, line in numbered(path):
                total += 1
                if total % 1000 == 0:
                    progress.draw(f"{shown}  {total:,} lines")
                result = decode(line, latest) if line is not None else Rejection("too_long", "longer than 1 MiB")
                if isinstance(result, Rejection):
                    reasons[result.reason] += 1
                    progress.clear()
                    print(f"{shown}:{number}: {result.reason}: {result.detail}")
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Usage(f"{shown}: {error.strerror or error}") from error
    progress.clear()
    bad = reasons.total()
    detail = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    print(f"{total:,} lines: {total - bad:,} accepted, {bad:,} rejected{f' ({detail})' if bad else ''}")
    return 1 if bad else 0


def _check_config(options: argparse.Namespace) -> int:
    from exporter.benchmark.suite import faults_in  # noqa: PLC0415

    config = load(Path(options.file))
    suites = [Path(benchmark.suite) for benchmark in config.benchmarks.values()]
    if faults := [fault for suite in suites if suite.exists() for fault in faults_in(suite)]:
        raise ConfigError(faults)
    for key, name in config.missing_files():
        print(f"{options.file}: {key}: {name} is not there, at least not on this machine")
    print(f"{options.file}: fine")
    return 0


def _schema(_: argparse.Namespace) -> int:
    print(json.dumps(schema(), indent=2))
    return 0


def _probe(options: argparse.Namespace) -> int:
    import asyncio  # noqa: PLC0415

    from exporter.probes.endpoint import Unasked  # noqa: PLC0415
    from exporter.probes.once import probe  # noqa: PLC0415
    from exporter.probes.settings import checks_of  # noqa: PLC0415

    config = _config(options)
    asked = [checks for name in _asked(config, options.agent) if (checks := checks_of(config, name))]
    if not asked:
        raise Usage("no agent has both an endpoint and a check: agents.NAME.endpoint in the file of --config")
    try:
        documents = asyncio.run(probe(asked))
    except Unasked as error:
        raise Usage(str(error)) from error
    for document in documents:
        print(json.dumps(document, indent=2))
    return 0 if all(document["healthy"] for document in documents) else 1


def _benchmark(options: argparse.Namespace) -> int:
    from exporter.benchmark.once import runs_of  # noqa: PLC0415
    from exporter.benchmark.report import document, table  # noqa: PLC0415
    from exporter.probes.endpoint import Unasked  # noqa: PLC0415

    if options.record:
        return _record(options)
    config = _config(options)
    agents = _asked(config, options.agent)
    wanted = {name: suite for name, suite in config.benchmarks.items() if options.suite in {None, name}}
    if not wanted:
        missing = "no benchmarks" if options.suite is None else f"no benchmark {options.suite!a}"
        known = f": there are {', '.join(config.benchmarks)}" if config.benchmarks else ""
        raise Usage(f"{missing} in the file of --config{known}")
    pairs = [(agent, name) for name, suite in wanted.items() for agent in suite.agents if agent in agents]
    if not pairs:
        raise Usage(f"{options.agent!a} is not among the agents of {', '.join(wanted)}")
    progress = Progress()
    done = []
    try:
        for run in runs_of(config, pairs, progress=progress.draw, say=_say):
            progress.clear()
            done.append(run)
            if not options.json:
                print(table(*run), flush=True)
    except Unasked as error:
        raise Usage(str(error)) from error
    finally:
        progress.clear()
    if options.json:
        print(json.dumps(document(done), indent=2))
    return 1 if len(done) < len(pairs) or any(report.regressed for report, _ in done) else 0


def _record(options: argparse.Namespace) -> int:
    from exporter.benchmark.record import NothingGood, record  # noqa: PLC0415

    try:
        recorded = record(options.record, options.agent)
    except OSError as error:
        raise Usage(_unread(error)) from error
    except NothingGood as error:
        raise Failed(str(error)) from error
    sys.stdout.write(recorded.text)
    _say(f"good sessions: {recorded.sessions:,} of {recorded.seen:,}; cases: {recorded.cases:,}, with different inputs")
    return 0


def _asked(config: Config, agent: str | None) -> list[str]:
    """The agent that was named, or all that can be asked."""
    if agent is None:
        return config.names()
    if agent not in config.names():
        raise Usage(f"no agent {agent!a} under agents in the file of --config, or it is retired")
    if config.agent(agent).endpoint is None:
        raise Usage(f"agents.{agent}.endpoint is not set: nobody knows where to ask")
    return [agent]


def _healthcheck(options: argparse.Namespace) -> int:
    from exporter.healthcheck import check  # noqa: PLC0415

    problem = check(_config(options), ready=options.ready)
    if problem is None:
        return 0
    print(problem, file=sys.stderr)
    return 1


def _breaker(options: argparse.Namespace) -> int:
    from exporter.breaker import operate  # noqa: PLC0415

    if options.order == "verify":
        try:
            sentences, sound = operate.verified(Path(options.audit_log))
        except OSError as error:
            raise Usage(f"{options.audit_log}: {error.strerror or error}") from error
        print("\n".join(sentences))
        return 0 if sound else 1
    path = _config(options).control_socket()
    if path is None:
        raise Usage("which exporter? name its state file with --state.path, or its config with --config")
    try:
        print(operate.order(path, options))
    except operate.Refused as error:
        _say(str(error))
        return 1
    return 0


def _demo(options: argparse.Namespace) -> int:
    try:
        from exporter.demo.show import fleet_only, show  # noqa: PLC0415
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


# --- options -------------------------------------------------------------------------------------------------------


def _config(options: argparse.Namespace) -> Config:
    """The file's settings, with those of the command line over them."""
    config = load(Path(options.config)) if options.config else parse("")
    listen = getattr(options, "listen", None)
    if listen is not None:
        if fault := listen_fault(listen):
            raise Usage(f"--web.listen-address: {fault}")
        config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, listen=listen))
    endpoint = getattr(options, "endpoint", None)
    if endpoint is not None:
        if fault := url_fault(endpoint):
            raise Usage(f"--otlp.endpoint: {fault}")
        config = msgspec.structs.replace(config, otlp=msgspec.structs.replace(config.otlp, endpoint=endpoint))
    hold = getattr(options, "hold", None)
    if hold is not None:
        config = msgspec.structs.replace(config, otlp=msgspec.structs.replace(config.otlp, hold=Duration(hold)))
    state = getattr(options, "state", None)
    if state is not None:
        config = msgspec.structs.replace(config, state=msgspec.structs.replace(config.state, path=state))
    return config


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agent-exporter",
        description="Prometheus metrics and OTLP traces from the JSON lines that AI agents print.",
        epilog=EPILOGUE,
    )
    parser.add_argument("--version", action="version", version=f"agent-exporter {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = _command(
        commands, "run", _run, "follow logs and serve /metrics",
        "Follow files, standard input and /v1/logs; serve /metrics; send spans. Files are read from their beginning, "
        "and after a restart from where they were left if there is a state file. SIGHUP reads the config again, "
        "SIGTERM ends.",
    )  # fmt: skip
    _config_option(run)
    run.add_argument("--web.listen-address", dest="listen", metavar="HOST:PORT", help=f"default {DEFAULT_LISTEN}")
    run.add_argument("--state.path", dest="state", metavar="FILE", help="remember counters and offsets here")
    _endpoint_option(run)
    run.add_argument(
        "--otlp.hold", dest="hold", type=_duration, metavar="10m",
        help="for a collector that samples: send a trace's spans together, at its end or after this long",
    )  # fmt: skip
    run.add_argument(
        "paths", nargs="*", metavar="PATH|GLOB|-",
        help="files to follow; quote a glob, so that new files are found; - is standard input",
    )  # fmt: skip

    replay = _command(
        commands, "replay", _replay, "read logs to the end and print their metrics",
        "Read logs of the past (plain, docker, CRI, .gz, - for standard input) to their end and print the exposition. "
        '"Now" is the time of the newest line.',
    )  # fmt: skip
    _config_option(replay)
    replay.add_argument("--openmetrics", action="store_true", help="OpenMetrics, with _created and exemplars")
    replay.add_argument(
        "--step", type=_duration, metavar="15s",
        help="print the exposition at every step of the log's own time, with timestamps, "
        "for `promtool tsdb create-blocks-from openmetrics`",
    )  # fmt: skip
    _endpoint_option(replay)
    replay.add_argument("paths", nargs="+", metavar="PATH")

    backtest = _command(
        commands, "backtest", _backtest, "what would have been found, paged and killed, from logs of the past",
        "Read logs of the past to their end and print every finding, and every alert that would have fired, as one "
        "line of JSON each, by time; a summary goes to standard error. Alerts take prometheus and promtool on PATH, or "
        "named by PROMETHEUS_BIN and PROMTOOL_BIN; without them there are findings only.",
    )  # fmt: skip
    _config_option(backtest)
    backtest.add_argument(
        "--rules",
        metavar="DIR",
        help="a folder of Prometheus rule files; default: the rules that come with this version",
    )
    backtest.add_argument("paths", nargs="+", metavar="PATH")

    explain = _command(
        commands, "explain", _explain, "show one task as a tree, and what went wrong first in it",
        "Find a task in logs of the past (plain, docker, CRI, .gz, - for standard input) and show it across all of its "
        "agents: what went wrong first and what that led to, in two sentences; the tree of who asked whom, with times, "
        'tokens, cost and retries; and what the detectors found. "Now" is the time of the newest line. Lines of '
        "several logs are put in order by their time. Exit code 1 if nothing fits.",
    )  # fmt: skip
    _config_option(explain)
    wanted = explain.add_mutually_exclusive_group(required=True)
    wanted.add_argument(
        "--trace", type=_id, metavar="ID", help="a task, as its lines name it or as a trace viewer does (32 hex)"
    )
    wanted.add_argument("--session", type=_id, metavar="ID", help="the task that a session is part of")
    wanted.add_argument(
        "--agent", type=_id, metavar="ID", help="the tasks that an agent worked on lately, the worst first"
    )
    explain.add_argument("--since", type=_duration, metavar="1h", help="with --agent: how far back; default 1h")
    explain.add_argument(
        "--content", action="store_true",
        help="show what the first failure was given and answered; may be private",
    )  # fmt: skip
    explain.add_argument("--json", action="store_true", help="one JSON document instead, as docs/explain.md has it")
    explain.add_argument("paths", nargs="+", metavar="PATH")

    validate = _command(
        commands, "validate", _validate, "check lines against the log schema",
        "Print every line that would be rejected as PATH:LINE: REASON: what to change, and a summary. Exit code 1 if "
        "there are any.",
    )  # fmt: skip
    validate.add_argument("paths", nargs="+", metavar="PATH")

    check = _command(
        commands, "check-config", _check_config, "check a config file",
        "Print every fault of a config file with its path, all at once. Exit code 2 if there are any.",
    )  # fmt: skip
    check.add_argument("file", metavar="FILE")

    probe = _command(
        commands, "probe", _probe, "ask agents whether they can do their job",
        "Run the health checks of every agent that has an endpoint, or of one, and print a JSON document for each: "
        "alive, its model answers, sums come out right, memory is connected, and what the config adds. Exit code 1 "
        "if one is unhealthy.",
    )  # fmt: skip
    _config_option(probe)
    probe.add_argument("agent", nargs="?", metavar="AGENT", help="one that has agents.AGENT.endpoint in the config")

    bench = _command(
        commands, "benchmark", _benchmark, "give agents inputs whose answers are known",
        "Run every benchmark of the config, or one, and print a table. Exit code 1 if one has regressed (less than "
        "nine answers in ten are as expected) or an agent does not answer. With --record, print a suite made from a "
        "log of good sessions.",
    )  # fmt: skip
    _config_option(bench)
    bench.add_argument("--agent", metavar="AGENT", help="only this one")
    bench.add_argument("--json", action="store_true", help="JSON instead of a table")
    bench.add_argument("--record", nargs="+", metavar="LOG", help="print a suite; run nothing")
    bench.add_argument("suite", nargs="?", metavar="SUITE", help="its name under benchmarks in the config")

    _command(
        commands, "schema", _schema, "print the JSON Schema of a line",
        "Print the JSON Schema (2020-12) of one line, made from the types that decode it.",
    )  # fmt: skip

    breaker = _command(
        commands, "breaker", _breaker, "see and steer what stops sessions",
        "Orders for a running exporter, given by its own user on its own machine through a socket beside its state "
        "file; and a check of the audit log. docs/breaker.md says when to use which.",
    )  # fmt: skip
    orders = breaker.add_subparsers(dest="order", required=True, metavar="ORDER")
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

    demo = _command(
        commands, "demo", _demo, "a simulated fleet, and what this makes of it",
        "Run ten simulated agents in four teams through a real exporter, with the status page; no Docker, no "
        "network. With --fault something goes wrong with them, and shows on the page within a minute.",
    )  # fmt: skip
    demo.add_argument(
        "--fault", action="append", default=[], choices=FAULTS,
        help="what goes wrong: " + ", ".join(FAULTS) + "; may be given more than once",
    )  # fmt: skip
    demo.add_argument(
        "--speed", type=_speed, default=1.0, metavar="N", help="work N times as fast, 0.1 to 20; default 1"
    )
    demo.add_argument("--duration", type=_duration, metavar="10m", help="end by itself after this long")
    demo.add_argument("--port", type=_port, default=10777, metavar="N", help="of the exporter; default 10777")
    demo.add_argument(
        "--enforce", action="store_true", help="stop sessions that loop or pass their budget, as docs/breaker.md has it"
    )
    demo.add_argument("--mailbox", type=int, help=argparse.SUPPRESS)  # the descriptor of the socket to be told at
    demo.add_argument(
        "--stdout", action="store_true",
        help="only the agents, their lines to standard output: agent-exporter demo --stdout | agent-exporter run -",
    )  # fmt: skip
    demo.add_argument(
        "--answer", metavar="HOST:PORT", help="with --stdout: where they answer health checks and are told to stop"
    )

    health = _command(
        commands, "healthcheck", _healthcheck, "ask a running exporter whether it is well",
        "For containers: exit code 0 if the exporter on this machine answers at /-/healthy, 1 if not.",
    )  # fmt: skip
    _config_option(health)
    health.add_argument("--web.listen-address", dest="listen", metavar="HOST:PORT", help="where it listens")
    health.add_argument("--ready", action="store_true", help="ask /-/ready instead")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    description: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=description, epilog=EPILOGUE)
    parser.set_defaults(run=run)
    return parser


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
        return duration(text)
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


def _unread(error: OSError) -> str:
    """What is wrong with a file, in one wording for all commands."""
    return f"{plain(str(error.filename))}: {error.strerror}" if error.filename else str(error)


def _say(sentence: str) -> None:
    print(f"agent-exporter: {plain(sentence)}", file=sys.stderr)


class _OneLine(logging.Formatter):
    """What a log line or an agent's answer brings can neither pass for a message of ours nor steer a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        text = super().formatMessage(record)
        return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class Progress:
    """How far a long read is: on a terminal, and only once it takes over a second."""

    def __init__(self) -> None:
        self._started = self._shown = time.monotonic()
        self._wanted = sys.stderr.isatty()
        self._drawn = False

    def show(self, source: Reading) -> None:
        """Told after each block of a source."""
        if not self._wanted:
            return
        done, total = source.progress()
        share = f" {100 * done / total:3.0f} %" if total else ""
        rate = done / 1e6 / max(0.001, time.monotonic() - self._started)
        self.draw(f"{plain(source.name)}{share}  {done / 1e6:,.0f} MB, {rate:,.0f} MB/s")

    def draw(self, text: str) -> None:
        """Show a text, five times a second at most."""
        now = time.monotonic()
        if not self._wanted or now - self._started < 1 or now - self._shown < 0.2:
            return
        self._shown = now
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
        self._drawn = True

    def clear(self) -> None:
        """Leave no trace on the terminal."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False

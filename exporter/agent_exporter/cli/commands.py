"""What each command does: options in, output on standard output, an exit code back.

What only one command needs is imported where it runs, so that the others start faster.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agent_exporter.cli.console import Progress, encodable, say
from agent_exporter.cli.errors import Failed, Usage, unread
from agent_exporter.cli.settings import config_of
from agent_exporter.cli.state_folder import with_state
from agent_exporter.config import load
from agent_exporter.config.strict import ConfigError
from agent_exporter.config.values import listen_fault
from agent_exporter.metrics.table import UNKNOWN
from agent_exporter.schema import schema
from agent_exporter.text import plain

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from agent_exporter.config import Config
    from agent_exporter.explain import Answer
    from agent_exporter.explain.log import Log
    from agent_exporter.stages import Stages

NO_RULES = (
    "NOTE: these are the findings of the detectors alone. Silence, daily budgets and drift are Prometheus rules, and "
    "those are not evaluated: that takes prometheus and promtool on PATH, or named by PROMETHEUS_BIN and PROMTOOL_BIN. "
    "A log without findings may still have fired alerts."
)

MOST_MODELS = 10
"""Models without a price that are named."""


def _run(options: argparse.Namespace) -> int:
    from agent_exporter.server import AddressInUse  # noqa: PLC0415
    from agent_exporter.service import Exporter  # noqa: PLC0415

    config = config_of(options)
    path = Path(options.config) if options.config else None
    try:
        paths = list(map(os.path.expanduser, options.paths))  # the shell has done it, but for what is quoted
        return Exporter(with_state(config, paths), path, paths).run()
    except AddressInUse as error:
        raise Usage(f"{error}; --web.listen-address HOST:PORT names another") from error
    except OSError as error:
        raise unread(error) from error


def _replay(options: argparse.Namespace) -> int:
    from agent_exporter.replay import replay, replay_in_steps  # noqa: PLC0415
    from agent_exporter.stages import render  # noqa: PLC0415

    config = config_of(options)
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
        raise unread(error) from error
    progress.clear()
    pipeline = stages.pipeline
    accept = "application/openmetrics-text; version=1.0.0" if options.openmetrics else "text/plain"
    render(sys.stdout.buffer, pipeline.store.committed, stages.live(pipeline.newest), accept)
    sys.stdout.buffer.flush()
    _say_rejected(stages)
    _say_unpriced(stages)
    return 1 if any(getattr(source, "problems", None) for source in pipeline.sources) else 0


def _backtest(options: argparse.Namespace) -> int:
    from agent_exporter import backtest  # noqa: PLC0415
    from agent_exporter.backtest import prometheus, report, rules  # noqa: PLC0415

    config = config_of(options)
    drawn = Progress()
    progress = backtest.Progress(drawn.show, drawn.draw)
    programs = prometheus.find()
    plan = None
    try:
        with _ends_like_ctrl_c():
            if programs is None:
                say(NO_RULES)
                told = backtest.read(config, options.paths, progress)
            else:
                files, found = rules.read(Path(options.rules) if options.rules else rules.shipped())
                prometheus.check(programs, files)
                plan = rules.plan(found)
                told = backtest.evaluate(config, options.paths, progress, plan, programs)
    except OSError as error:
        raise unread(error) from error
    except (ValueError, prometheus.Failed) as error:
        raise Usage(str(error)) from error
    finally:
        drawn.clear()
    sys.stdout.buffer.write(b"".join(line + b"\n" for line in report.lines(told)))
    sys.stdout.buffer.flush()
    first, *others = report.summary(told, plan, config)
    say(first)
    for line in others:
        print(plain(line), file=sys.stderr)
    _say_rejected(told.stages)
    _say_unpriced(told.stages)
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
    for source in stages.tally.sources.values():
        rejected = sum(source.rejected.values())
        if rejected:
            say(f"{source.source}: {rejected:,} of {source.read:,} lines rejected; `agent-exporter validate` says why")


def _say_unpriced(stages: Stages) -> None:
    unpriced = sorted(stages.tally.unpriced().items(), key=lambda item: (-item[1], item[0]))
    for model, tokens in unpriced[:MOST_MODELS]:
        whose = "no model" if model == UNKNOWN else f"the model {model!a}"
        say(f"{tokens:,} tokens of {whose} have no price and no logged cost: no budget in dollars sees them")
    if len(unpriced) > MOST_MODELS:
        say(f"{len(unpriced) - MOST_MODELS:,} more models have no price")


def _explain(options: argparse.Namespace) -> int:
    from agent_exporter.explain import SINCE, Missing, explain  # noqa: PLC0415
    from agent_exporter.explain.document import write  # noqa: PLC0415
    from agent_exporter.explain.unpack import open_logs  # noqa: PLC0415

    config = config_of(options)
    if options.since is not None and options.agent is None:
        raise Usage("--since goes with --agent: a trace and a session are shown whole")
    progress = Progress()
    logs: list[Log] = []
    answer = None
    try:
        with open_logs(options.paths, progress.show, time.time(), config.statuses.words()) as logs:
            answer = explain(
                config, logs,
                trace=options.trace, session=options.session, agent=options.agent, since=options.since or SINCE,
            )  # fmt: skip
    except OSError as error:
        raise unread(error) from error
    except Missing as missing:
        progress.clear()
        say(str(missing))
    progress.clear()
    broken = [log for log in logs if log.problem is not None]
    for log in broken:
        say(f"{log.name}: {log.problem}; only what comes before is looked at")
    if answer is None:
        return 1
    if options.json:
        print(write(answer, content=options.content))
    else:
        _print_page(answer, options)
    return bool(broken)


def _print_page(answer: Answer, options: argparse.Namespace) -> None:
    """As wide as the terminal, in colour there; 100 columns and none elsewhere."""
    from agent_exporter.explain.given import contents, sizes  # noqa: PLC0415
    from agent_exporter.explain.page import Page  # noqa: PLC0415
    from agent_exporter.explain.terminal import Paint  # noqa: PLC0415

    terminal = sys.stdout.isatty()
    columns = shutil.get_terminal_size((100, 24)).columns if terminal else 100
    page = Page(
        Paint(colour=terminal and not os.environ.get("NO_COLOR")),
        columns,
        lambda agent, session: session == options.session or agent == options.agent,
    )
    for line in page.answer(answer, partial(contents, columns=columns - 2) if options.content else sizes):
        print(encodable(line))


def _validate(options: argparse.Namespace) -> int:
    from agent_exporter.cli.validate import validate  # noqa: PLC0415

    return validate(config_of(options), options.paths, strict=options.strict, as_json=options.json)


def _check_config(options: argparse.Namespace) -> int:
    from agent_exporter.benchmark.suite import faults_in  # noqa: PLC0415

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

    from agent_exporter.probes.endpoint import RequestError  # noqa: PLC0415
    from agent_exporter.probes.once import probe  # noqa: PLC0415
    from agent_exporter.probes.settings import checks_of  # noqa: PLC0415

    config = config_of(options)
    asked = [checks for name in _asked(config, options.agent) if (checks := checks_of(config, name))]
    if not asked:
        raise Usage("no agent has both an endpoint and a check: agents.NAME.endpoint in the file of --config")
    try:
        documents = asyncio.run(probe(asked))
    except RequestError as error:
        raise Usage(str(error)) from error
    for document in documents:
        print(json.dumps(document, indent=2))
    return 0 if all(document["healthy"] for document in documents) else 1


def _benchmark(options: argparse.Namespace) -> int:
    from agent_exporter.benchmark.once import runs_of  # noqa: PLC0415
    from agent_exporter.benchmark.report import document, table  # noqa: PLC0415
    from agent_exporter.probes.endpoint import RequestError  # noqa: PLC0415

    if options.record:
        return _record(options)
    config = config_of(options)
    pairs = _pairs(config, options)
    progress = Progress()
    done = []
    try:
        for run in runs_of(config, pairs, progress=progress.draw, say=say):
            progress.clear()
            done.append(run)
            if not options.json:
                print(table(*run), flush=True)
    except RequestError as error:
        raise Usage(str(error)) from error
    finally:
        progress.clear()
    if options.json:
        print(json.dumps(document(done), indent=2))
    return 1 if len(done) < len(pairs) or any(report.regressed for report, _ in done) else 0


def _pairs(config: Config, options: argparse.Namespace) -> list[tuple[str, str]]:
    """(agent, benchmark) of all that is to be run."""
    agents = _asked(config, options.agent)
    wanted = {name: suite for name, suite in config.benchmarks.items() if options.suite in {None, name}}
    if not wanted:
        missing = "no benchmarks" if options.suite is None else f"no benchmark {options.suite!a}"
        known = f": there are {', '.join(config.benchmarks)}" if config.benchmarks else ""
        raise Usage(f"{missing} in the file of --config{known}")
    pairs = [(agent, name) for name, suite in wanted.items() for agent in suite.agents if agent in agents]
    if not pairs:
        raise Usage(f"{options.agent!a} is not among the agents of {', '.join(wanted)}")
    return pairs


def _record(options: argparse.Namespace) -> int:
    from agent_exporter.benchmark.record import NothingGood, record  # noqa: PLC0415

    try:
        recorded = record(options.record, options.agent)
    except OSError as error:
        raise unread(error) from error
    except NothingGood as error:
        raise Failed(str(error)) from error
    sys.stdout.write(recorded.text)
    say(f"good sessions: {recorded.sessions:,} of {recorded.seen:,}; cases: {recorded.cases:,}, with different inputs")
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
    from agent_exporter.healthcheck import check  # noqa: PLC0415

    problem = check(config_of(options), ready=options.ready)
    if problem is None:
        return 0
    print(problem, file=sys.stderr)
    return 1


def _breaker(options: argparse.Namespace) -> int:
    from agent_exporter.breaker import operate  # noqa: PLC0415

    if options.order == "verify":
        try:
            sentences, sound = operate.verified(Path(options.audit_log))
        except OSError as error:
            raise Usage(f"{options.audit_log}: {error.strerror or error}") from error
        print("\n".join(sentences))
        return 0 if sound else 1
    path = config_of(options).control_socket()
    if path is None:
        raise Usage("which exporter? name its state file with --state.path, or its config with --config")
    try:
        print(operate.order(path, options))
    except operate.Refused as error:
        say(str(error))
        return 1
    return 0


def _demo(options: argparse.Namespace) -> int:
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


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "replay": _replay,
    "backtest": _backtest,
    "explain": _explain,
    "validate": _validate,
    "check-config": _check_config,
    "probe": _probe,
    "benchmark": _benchmark,
    "schema": _schema,
    "breaker": _breaker,
    "demo": _demo,
    "healthcheck": _healthcheck,
}
"""By the name that is typed."""

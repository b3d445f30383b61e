"""Faults that types cannot express: keys that contradict each other, and invalid texts."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent_exporter import statuses
from agent_exporter.config.values import host_fault, listen_fault, source_fault, url_fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent_exporter.config import Agent, Config


def contradictions(config: Config) -> Iterator[str]:
    """Every fault between keys or within a text, as a sentence."""
    if bool(config.server.tls_cert_file) != bool(config.server.tls_key_file):
        yield "server: tls_cert_file and tls_key_file belong together"
    if config.server.tls_client_ca_file and not config.server.tls_cert_file:
        yield "server.tls_client_ca_file: has no meaning without tls_cert_file"
    fault = listen_fault(config.server.listen)
    if fault:
        yield f"server.listen: {fault}"
    for name in config.server.allowed_hosts:
        if fault := host_fault(name):
            yield f"server.allowed_hosts: {fault}"
    if config.otlp.endpoint is not None:
        fault = url_fault(config.otlp.endpoint)
        if fault:
            yield f"otlp.endpoint: {fault}"
    meant: dict[str, str] = {}
    for status, words in config.statuses.lists().items():
        for word in (status, *words):
            if (other := meant.setdefault(statuses.key(word), status)) != status:
                yield f"statuses.{status}: {word!a} counts as {other} already"
    taken = {"otlp": "/v1/logs", "ndjson": "/v1/ndjson", "-": "standard input"}
    for name in config.sources.keys() & taken.keys():
        yield f"sources.{name}: the name is taken, by {taken[name]}"
    for name, task in config.task_types.items():
        if task.normal_duration > task.max_duration:
            yield f"task_types.{name}: normal_duration is longer than max_duration"
    for name, agent in config.agents.items():
        for source in agent.trusted_sources or ():
            if fault := source_fault(source):
                yield f"agents.{name}.trusted_sources: {fault}"
        yield from _faults_of_terminate(config, name, agent)
    if config.breaker.mode == "enforce" and config.state.file is None:
        yield "breaker.mode: enforce needs state.path, so that a restart knows which sessions it has stopped"
    if config.health_checks or config.benchmarks or any(map(_is_asked, config.agents.values())):
        # The HTTP client takes 8 MB, which commands that only read a log do not need.
        from agent_exporter.probes import settings  # noqa: PLC0415

        yield from settings.faults(config)


def _is_asked(agent: Agent) -> bool:
    """Whether the section has keys for health checks or benchmarks."""
    return (agent.endpoint, agent.endpoint_headers_file, agent.health_checks) != (None, None, None)


_PLACES = re.compile(r"\{\w*\}")


def _faults_of_terminate(config: Config, name: str, agent: Agent) -> Iterator[str]:
    how = agent.terminate
    if how is None:
        return
    where = f"agents.{name}.terminate"
    if bool(how.url) == bool(how.argv):
        yield f"{where}: needs url or argv, and not both"
    if how.url is not None and (fault := url_fault(how.url)):
        yield f"{where}.url: {fault}"
    if how.url is not None and "{" in urlsplit(how.url).netloc:
        yield f"{where}.url: an id from a log line cannot be part of the host"
    for key, text in [("url", how.url or ""), *(("argv", argument) for argument in how.argv or ())]:
        for place in set(_PLACES.findall(text)) - {"{session_id}", "{agent_id}"}:
            yield f"{where}.{key}: unknown placeholder {place}; there are {{session_id}} and {{agent_id}}"
    for fault in _faults_of_argv(how.argv or []):
        yield f"{where}.argv: {fault}"
    if config.breaker.mode == "enforce" and not agent.trusted_sources:
        yield f'agents.{name}.trusted_sources: is required in enforce mode; ["*"] trusts every line'


_SHELLS = {"sh", "ash", "bash", "dash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "pwsh", "powershell", "ssh", "rsh"}
"""Programs that read a command line in their arguments, here or on another machine."""
_RUNNERS = {"su", "runuser", "busybox", "mosh", "xargs", "parallel", "watch", "script", "cmd", "nu", "eval"}
"""Others that do, whose names may also be somebody's word for something else: only as the command itself."""
_PROGRAM = re.compile(r"-[A-Za-z0-9]*[ceErS]|--(?:eval|exec|execute|command|run|print|split-string)")
"""Options after which a program's text follows: python -c, perl -e, php -r, node --eval, env -S."""


def _faults_of_argv(argv: Sequence[str]) -> Iterator[str]:
    """Where an id, which whoever prompts an agent may choose, could become part of a command."""
    if not any(_PLACES.search(argument) for argument in argv):
        return
    if _PLACES.search(argv[0]):
        yield "an id from a log line cannot be the command"
    names = [argument.rpartition("/")[2].lower().removesuffix(".exe") for argument in argv]
    for shell in [name for name in names if name in _SHELLS or (name in _RUNNERS and name is names[0])]:
        yield (
            f"{shell} reads commands, and an id from a log line must not become one: call a program of your own with "
            'the id as an argument, or have a script read "$SESSION_ID" and "$AGENT_ID"'
        )
    for before, argument in pairwise(argv):
        if _PLACES.search(argument) and (_PLACES.fullmatch(argument) is None or _PROGRAM.fullmatch(before)):
            yield (
                f"{argument}: an id from a log line must be an argument of its own that is not read as a program: "
                'the command also gets "$SESSION_ID" and "$AGENT_ID"'
            )

"""The checks of each agent, from the config: the article's four, changed and extended by `health_checks`."""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from agent_exporter.config import Expect, HealthCheck
from agent_exporter.config.values import Duration, JMESPath, Regex, is_glob, url_fault
from agent_exporter.probes.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent_exporter.config import Config

INTERVAL = Duration(60.0)
"""Seconds, as in the article. The rules take three failures in 200 s for an outage."""
QUICK, THINKING = Duration(5.0), Duration(15.0)
"""The article's timeouts, without a model and with one."""
SUM = "{sum}"
"""Stands for two numbers in a body's text, new each time, so that no cache has the answer: their sum."""
CHECKS = {
    "liveness": HealthCheck(path="/health", timeout=QUICK),
    "model_connectivity": HealthCheck(
        path="/v1/test",
        body={"prompt": "Reply with exactly: OK", "max_tokens": 10},
        jmespath=JMESPath("response"),
        expect=Expect(regex=Regex(r"(?i)\bok\b")),  # a whole word, as "invalid TOKEN" contains the article's "OK"
        timeout=THINKING,
    ),
    "reasoning_quality": HealthCheck(
        path="/v1/test",
        body={"prompt": f"What is {SUM}?", "max_tokens": 20},
        jmespath=JMESPath("response"),
        timeout=THINKING,
    ),
    "memory_access": HealthCheck(
        path="/v1/memory/status", jmespath=JMESPath("connected"), expect=Expect(exact=True), timeout=QUICK
    ),
}
"""The article's four, for every agent with an endpoint unless the config says otherwise. A new check is a line here."""


class Check(NamedTuple):
    """A check of one agent, with all its settings."""

    agent: str
    name: str
    endpoint: Endpoint
    path: str
    body: dict[str, Any] | None
    status: int
    jmespath: JMESPath | None
    expect: Expect
    interval: float
    timeout: float


def checks_of(config: Config, agent: str) -> list[Check]:
    """The checks of one agent; none without an endpoint."""
    own = config.agent(agent)
    endpoint = endpoint_of(config, agent)
    if endpoint is None:
        return []
    names = own.health_checks if own.health_checks is not None else CHECKS
    return [_settled(agent, name, endpoint, config.health_checks.get(name)) for name in names]


def endpoint_of(config: Config, agent: str) -> Endpoint | None:
    """An agent's endpoint, if the config has one."""
    own = config.agent(agent)
    return None if own.endpoint is None else Endpoint(own.endpoint, own.endpoint_headers_file)


def _settled(agent: str, name: str, endpoint: Endpoint, changed: HealthCheck | None) -> Check:
    parts = msgspec.structs.asdict(CHECKS.get(name, HealthCheck()))
    if changed is not None:
        parts |= {key: value for key, value in msgspec.structs.asdict(changed).items() if value is not None}
    return Check(
        agent,
        name,
        endpoint,
        parts["path"],
        parts["body"],
        parts["status"] or 200,
        parts["jmespath"],
        parts["expect"] or Expect(),
        parts["interval"] or INTERVAL,
        parts["timeout"] or QUICK,
    )


# --- what is wrong between keys ------------------------------------------------------------------------------------


def faults(config: Config) -> Iterator[str]:
    """The faults of the config: sentences, each with the path of its key."""
    known = [*CHECKS, *(name for name in config.health_checks if name not in CHECKS)]
    for name, agent in config.agents.items():
        at = f"agents.{name}"
        if agent.endpoint is None:
            for key in ("endpoint_headers_file", "health_checks"):
                if getattr(agent, key) is not None:
                    yield f"{at}.{key}: has no meaning without endpoint"
        elif is_glob(name):
            # Names that match a glob come from log lines, which must not decide what is called.
            yield f"{at}.endpoint: is of one agent, and not of all that a glob fits: name the agent"
        elif fault := endpoint_fault(agent.endpoint):
            yield f"{at}.endpoint: {fault}"
        yield from _unknown(f"{at}.health_checks", "check", agent.health_checks or (), known)
    for name, check in config.health_checks.items():
        yield from _check_faults(f"health_checks.{name}", name, check)
    asked = [name for name in config.names() if config.agent(name).endpoint is not None]
    for name, benchmark in config.benchmarks.items():
        yield from _unknown(f"benchmarks.{name}.agents", "agent with an endpoint", benchmark.agents, asked)


def endpoint_fault(url: str) -> str | None:
    """What is wrong with the address of an agent, or None."""
    if fault := url_fault(url):
        return fault
    parts = urlsplit(url)
    if parts.username is not None or parts.password is not None:
        return "no user or password in it: endpoint_headers_file keeps them out of this file"
    if parts.query or parts.fragment:
        return f"{url!r}: no ? and no #, as the paths of the checks are added to it"
    return None


def _check_faults(at: str, name: str, check: HealthCheck) -> Iterator[str]:
    settled = _settled("", name, Endpoint(""), check)
    if settled.path is None:
        yield f"{at}.path: is required"
    elif fault := path_fault(settled.path):
        yield f"{at}.path: {fault}"
    if settled.interval < 1:
        yield f"{at}.interval: must be 1s or more"
    if settled.timeout > settled.interval:
        yield f"{at}.timeout: is longer than the interval of {settled.interval:g} s"
    if check.expect is not None:
        yield from expect_faults(f"{at}.expect", check.expect)
    if not _is_json(check.body):
        yield f"{at}.body: must be what JSON can say"


def path_fault(path: str) -> str | None:
    """What is wrong with a path, or None. It is put after an address and must not become part of the host."""
    if path.startswith("/") and path.isascii() and path.isprintable() and not {" ", "#"} & set(path):
        return None
    return f"must begin with / and be as it goes over HTTP, not {path!a}"


def expect_faults(at: str, expect: Expect) -> Iterator[str]:
    """What is wrong between the keys of an expectation."""
    if expect.tolerance != 0 and expect.number is None:
        yield f"{at}.tolerance: has no meaning without number"
    if expect.similarity != Expect().similarity and expect.similar is None:
        yield f"{at}.similarity: has no meaning without similar"
    if not math.isfinite(expect.number or 0) or not math.isfinite(expect.tolerance):
        yield f"{at}.number: must be finite"
    for key in ("exact", "json"):
        if not _is_json(getattr(expect, key)):
            yield f"{at}.{key}: must be what JSON can say"


def _unknown(at: str, what: str, names: Iterable[str], known: list[str]) -> Iterator[str]:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}" if known else ""
            yield f"{at}: no {what} is named {ascii(name)[:60]}{hint}"


def _is_json(value: Any) -> bool:
    """Whether a value of YAML fits in JSON: YAML also has sets, other keys than text, and infinite numbers."""
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError, OverflowError):
        return False
    return True

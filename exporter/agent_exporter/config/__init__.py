"""The configuration: one strict YAML file. All errors are reported at once, each with the path of its key.

Without a file the defaults of the sections below apply.

    values.py           durations, hours, expressions, addresses
    strict.py           YAML into sections
    renamed.py          old keys and their new names
    contradictions.py   between keys
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date  # noqa: TC003  (msgspec reads the annotations)
from fnmatch import fnmatchcase, translate
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, field
from msgspec.structs import asdict

from agent_exporter import statuses
from agent_exporter.config.contradictions import contradictions
from agent_exporter.config.strict import Section, read_strictly, text_of
from agent_exporter.config.values import DEFAULT_LISTEN, Duration, FilePath, JMESPath, QuietHours, Regex, is_glob

Positive = Annotated[int, Meta(ge=1)]
PositiveUSD = Annotated[float, Meta(gt=0)]
USD = Annotated[float, Meta(ge=0)]
NO_STATE = "none"
"""The value of `state.path` that turns the state file off."""


class Terminate(Section, frozen=True):
    url: str | None = None
    argv: list[str] | None = None
    auth_header_file: FilePath | None = None


class Agent(Section, frozen=True):
    """One agent, by name or glob: an exact name wins over globs, and the first matching glob over later ones."""

    team: str | None = None
    expected_interval: Duration | None = None
    max_action_duration: Duration = Duration(300.0)
    quiet_hours: QuietHours | None = None
    daily_tokens: Positive | None = None
    daily_cost_usd: PositiveUSD | None = None
    baseline_from: date | None = None
    retired: bool = False
    endpoint: str | None = None
    endpoint_headers_file: FilePath | None = None
    """A file of lines `Name: value`, for a token that must not be in the config."""
    health_checks: list[str] | None = None
    """Names of its health checks; None: the four built-in ones."""
    trusted_sources: list[str] | None = None
    terminate: Terminate | None = None


class TaskType(Section, frozen=True):
    """Budgets and times of the sessions of one task type. The defaults come from the article named in the README."""

    session_tokens: Positive = 50_000
    session_cost_usd: PositiveUSD | None = None
    normal_duration: Duration = Duration(30.0)
    max_duration: Duration = Duration(300.0)
    idle_timeout: Duration = Duration(300.0)


BUILT_IN_TASK_TYPES = {
    "coding_agent": TaskType(
        session_tokens=200_000_000,
        session_cost_usd=100.0,
        normal_duration=Duration(3600.0),
        max_duration=Duration(8 * 3600.0),
        idle_timeout=Duration(3600.0),
    )
}
"""Sessions of coding agents repeat a cached prompt of 15,000 tokens and more in each call, and last for hours.

Healthy sessions of a day were seen to take 56 million tokens and 43 USD: these are more than twice as much. A working
day is 8 h. A build or a test run may take most of an hour without a line.
"""


class Statuses(Section, frozen=True):
    """The words that count as each status, in any case; the name of a status always counts as itself."""

    success: list[str] = field(default_factory=lambda: [*statuses.DEFAULTS["success"]])
    error: list[str] = field(default_factory=lambda: [*statuses.DEFAULTS["error"]])
    timeout: list[str] = field(default_factory=lambda: [*statuses.DEFAULTS["timeout"]])
    cancelled: list[str] = field(default_factory=lambda: [*statuses.DEFAULTS["cancelled"]])

    def lists(self) -> dict[str, list[str]]:
        """The words of each status."""
        return {status: getattr(self, status) for status in statuses.DEFAULTS}

    def words(self) -> dict[str, str]:
        """The status of each word, as `decode` takes it."""
        return statuses.words(self.lists())


class FileSource(Section, frozen=True):
    """Files to follow, by a glob."""

    path: FilePath
    format: str | None = None
    """The name of a format, or a file that describes one; None: that of the whole config, or what the lines show."""
    start_at: Literal["beginning", "end"] = "beginning"
    ignore_plain_text: bool = False
    foreign_json: Literal["ignore", "count"] = "ignore"


class Server(Section, frozen=True):
    listen: str = DEFAULT_LISTEN
    token_file: FilePath | None = None
    tls_cert_file: FilePath | None = None
    tls_key_file: FilePath | None = None
    tls_client_ca_file: FilePath | None = None
    allowed_hosts: list[str] = []
    """Further Host headers that a server on loopback accepts, beside localhost and addresses."""


class Metrics(Section, frozen=True):
    max_series_per_family: Annotated[int, Meta(ge=10)] = 2_000
    max_samples: Annotated[int, Meta(ge=1_000)] = 100_000
    agent_ttl: Duration = Duration(7 * 86400.0)
    gen_ai: bool = True
    catch_up_timeout: Duration = Duration(60.0)
    """Longest time that scrapes get 503 while a first start reads the existing logs."""


class OTLP(Section, frozen=True):
    """Where spans are sent. Without an endpoint there are no spans."""

    endpoint: str | None = None
    compression: Literal["gzip", "none"] = "gzip"
    headers_file: FilePath | None = None
    """A file of lines `Name: value`, for a token that must not be in the config."""
    ca_file: FilePath | None = None
    spool_bytes: Annotated[int, Meta(ge=1 << 20)] = 256 << 20
    buffer_traces: Duration | None = None
    """Keep the spans of a trace until its sessions have ended, for at most this time, and send them together."""


class OTLPLogs(Section, frozen=True):
    """Lines that arrive at /v1/logs."""

    enabled: bool = True
    ignore_plain_text: bool = False
    foreign_json: Literal["ignore", "count"] = "ignore"


class NDJSON(Section, frozen=True):
    """Lines that are posted to /v1/ndjson."""

    enabled: bool = True
    formats: dict[str, FilePath] = {}
    """Files that describe a format, by the names that requests may give; those that come with the package need none."""
    ignore_plain_text: bool = False
    foreign_json: Literal["ignore", "count"] = "ignore"


class State(Section, frozen=True):
    path: FilePath | None = None
    """NO_STATE turns it off; None: `run` chooses a place."""

    @property
    def file(self) -> Path | None:
        """The path, or None."""
        return None if self.path in {None, NO_STATE} else Path(str(self.path))


class Loop(Section, frozen=True):
    max_retries: Positive = 3
    max_repeats: Positive = 3
    cycle_rounds: Annotated[int, Meta(ge=2)] = 3
    failing_calls: Annotated[int, Meta(ge=2)] = 6
    stalled_calls: Annotated[int, Meta(ge=5, le=1_000)] = 20
    polling_actions: list[str] = []


class Anomaly(Section, frozen=True):
    factor: Annotated[float, Meta(gt=1)] = 2.0
    window_size: Positive = 50
    min_samples: Positive = 20


class Cascade(Section, frozen=True):
    min_agents: Annotated[int, Meta(ge=2)] = 3
    window: Duration = Duration(60.0)


class Detectors(Section, frozen=True):
    reorder_window: Duration = Duration(3.0)
    loop: Loop = field(default_factory=Loop)
    action_anomaly: Anomaly = field(default_factory=Anomaly)
    cascade: Cascade = field(default_factory=Cascade)


class LongPrompt(Section, frozen=True):
    """The price of a call whose prompt has more than `above` tokens."""

    above: Positive
    input: USD
    output: USD
    cache_read: USD | None = None
    cache_write: USD | None = None


class Price(Section, frozen=True):
    """Price of a model, USD per million tokens. Cached tokens without their own price cost the same as input."""

    input: USD
    output: USD
    cache_read: USD | None = None
    cache_write: USD | None = None
    long_prompt: LongPrompt | None = None


class Prices(Section, frozen=True):
    """Computes costs that lines do not log, and checks those that they do."""

    use_shipped: bool = True
    """Use the shipped table for models that `models` does not name."""
    tolerance: Annotated[float, Meta(ge=0)] = 0.1
    """Share of the computed cost by which a logged one may differ: rounding, or several calls in one line."""
    models: dict[str, Price] = {}


class Breaker(Section, frozen=True):
    """When sessions are stopped; docs/breaker.md has the reasons for the defaults."""

    mode: Literal["observe", "enforce"] = "observe"
    reasons: list[Literal["session_budget", "loop", "action_anomaly"]] = field(
        default_factory=lambda: ["session_budget"]
    )
    audit_log: FilePath | None = None
    """None: `audit.ndjson` beside the state file."""
    termination_grace_period: Duration = Duration(30.0)
    confirm_after: Duration = Duration(10.0)
    max_line_age: Duration = Duration(60.0)
    max_terminations_per_minute: Positive = 5
    max_terminations_per_minute_overall: Positive | None = None
    max_termination_share: Annotated[float, Meta(gt=0, le=1)] = 0.2
    min_live_sessions: Positive = 20


Content = Annotated[str, Meta(description="compared with an agent's answer as it is")]


class Expect(Section, frozen=True):
    """What an answer must be; if there are several expectations, all must hold."""

    exact: Any = None
    contains: Content | None = None
    regex: Regex | None = None
    json: Any = None
    """These keys and values; the answer may have others."""
    number: float | None = None
    tolerance: Annotated[float, Meta(ge=0)] = 0.0
    similar: Content | None = None
    similarity: Annotated[float, Meta(gt=0, le=1)] = 0.7
    """Lowest similarity, 0 to 1. Measured on tests/logs: answers of one agent to two questions are less similar in 98
    of 100 pairs; another wording of one answer has 0.6 to 0.8. A rough measure: prefer an exact expectation."""


class HealthCheck(Section, frozen=True):
    """One check. For the four built-in ones, a key left out here keeps its built-in value (`probes.settings`)."""

    path: str | None = None
    body: dict[str, Any] | None = None
    """JSON to POST; None: the request is a GET."""
    status: Annotated[int, Meta(ge=100, le=599)] | None = None
    jmespath: JMESPath | None = None
    expect: Expect | None = None
    interval: Duration | None = None
    timeout: Duration | None = None


class Benchmark(Section, frozen=True):
    """A suite of inputs with known good answers, and the agents that get it."""

    suite: FilePath
    agents: list[str]
    interval: Duration | None = None
    """None: only the command runs it."""
    repetitions: Annotated[int, Meta(ge=1, le=100)] = 1
    timeout: Duration = Duration(60.0)
    """Time for one answer."""


class Config(Section, frozen=True):
    """The whole file."""

    agents: dict[str, Agent] = {}
    task_types: dict[str, TaskType] = field(default_factory=lambda: {**BUILT_IN_TASK_TYPES})
    llm_actions: list[str] = field(default_factory=lambda: ["llm_call", "chat*", "completion*", "generate*"])
    statuses: Statuses = field(default_factory=Statuses)
    format: str | None = None
    """Of the files of the command line, standard input, and sources without a format of their own."""
    sources: dict[str, FileSource] = {}
    otlp_logs: OTLPLogs = field(default_factory=OTLPLogs)
    ndjson: NDJSON = field(default_factory=NDJSON)
    server: Server = field(default_factory=Server)
    metrics: Metrics = field(default_factory=Metrics)
    otlp: OTLP = field(default_factory=OTLP)
    state: State = field(default_factory=State)
    detectors: Detectors = field(default_factory=Detectors)
    prices: Prices = field(default_factory=Prices)
    breaker: Breaker = field(default_factory=Breaker)
    health_checks: dict[str, HealthCheck] = {}
    benchmarks: dict[str, Benchmark] = {}

    def formats(self) -> dict[str, str]:
        """The formats that are named, by the key that names them."""
        named = {"format": self.format}
        named |= {f"sources.{name}.format": source.format for name, source in self.sources.items()}
        named |= {f"ndjson.formats.{name}": path for name, path in self.ndjson.formats.items()}
        return {key: name for key, name in named.items() if name is not None}

    def agent(self, name: str) -> Agent:
        """The settings of an agent: its own, or those of the first matching glob, or the defaults."""
        own = self.agents.get(name)
        if own is not None:
            return own
        return next((agent for glob, agent in self.agents.items() if fnmatchcase(name, glob)), _DEFAULT_AGENT)

    def names(self) -> list[str]:
        """Agents with a section of their exact name that are not retired."""
        return [name for name, agent in self.agents.items() if not is_glob(name) and not agent.retired]

    def task_type(self, name: str) -> TaskType:
        """The settings of a task type: its own, or those of `default`."""
        return self.task_types.get(name) or self.task_types.get("default") or _DEFAULT_TASK

    def is_llm(self, action: str) -> bool:
        """Whether an action is a model call; all others are tool calls."""
        return _any_of(*self.llm_actions).match(action) is not None

    def missing_files(self) -> list[tuple[str, str]]:
        """(key, path) of files that the config names and that do not exist: only a warning, it may run elsewhere."""
        named = {
            "server.token_file": self.server.token_file,
            "server.tls_cert_file": self.server.tls_cert_file,
            "server.tls_key_file": self.server.tls_key_file,
            "server.tls_client_ca_file": self.server.tls_client_ca_file,
            "otlp.headers_file": self.otlp.headers_file,
            "otlp.ca_file": self.otlp.ca_file,
            **{
                f"agents.{name}.terminate.auth_header_file": agent.terminate.auth_header_file
                for name, agent in self.agents.items()
                if agent.terminate is not None
            },
        }
        named |= {f"agents.{name}.endpoint_headers_file": a.endpoint_headers_file for name, a in self.agents.items()}
        named |= {f"benchmarks.{name}.suite": benchmark.suite for name, benchmark in self.benchmarks.items()}
        return [(key, path) for key, path in named.items() if path is not None and not Path(path).exists()]

    def control_socket(self) -> Path | None:
        """The socket for operators."""
        return None if self.state.file is None else Path(f"{self.state.file}.sock").absolute()

    def audit_log(self) -> Path | None:
        """The path of the breaker's audit log."""
        if self.breaker.audit_log is not None:
            return Path(self.breaker.audit_log)
        return None if self.state.file is None else self.state.file.with_name("audit.ndjson")


_DEFAULT_AGENT = Agent()
_DEFAULT_TASK = TaskType()


def load(path: Path) -> Config:
    """Read and check a file. Raises ConfigError with all faults."""
    return parse(text_of(path), str(path))


def parse(text: str, name: str = "config") -> Config:
    """Check a YAML document. Raises ConfigError with all faults, each starting with `name`."""
    return read_strictly(text, name, Config, contradictions, _with_built_in_task_types)


def _with_built_in_task_types(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """A key that the config leaves out of a built-in task type keeps its built-in value."""
    own = document.get("task_types")
    if own is not None and not isinstance(own, Mapping):
        return document
    types = dict(own or {})
    for name, built_in in BUILT_IN_TASK_TYPES.items():
        given = types.get(name)
        if given is None or isinstance(given, Mapping):
            kept = {key: f"{x:g}s" if isinstance(x, Duration) else x for key, x in asdict(built_in).items()}
            types[name] = kept | dict(given or {})
    return {**document, "task_types": types}


@lru_cache(maxsize=8)
def _any_of(*globs: str) -> re.Pattern[str]:
    """Matches if any of the globs does. Used for each line whose action has no series of its own."""
    return re.compile("|".join(map(translate, globs)) or r"(?!)")

"""The configuration: one YAML file, strict. Every fault is told, with its path, all at once.

With no file at all everything works with the defaults that the structs below state.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping
from datetime import date  # noqa: TC003  (msgspec reads the annotations)
from fnmatch import fnmatchcase, translate
from functools import lru_cache
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
import yaml
from msgspec import Meta, Struct, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DEFAULT_LISTEN = "127.0.0.1:10777"
"""9100 to 9999 are all allocated to other exporters."""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class ConfigError(Exception):
    """The file cannot be used. `faults` are sentences, each with the path of the key it is about."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Duration(float):
    """Seconds, written `250ms`, `30s`, `5m`, `2h` or `7d`."""


class QuietHours:
    """Minutes of the UTC day from `start` until `end`, written "22:00-06:00"; may pass midnight."""

    def __init__(self, text: str) -> None:
        match = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", text)
        if match is None:
            raise ValueError('must be UTC hours such as "22:00-06:00", in quotes')
        hours = [int(number) for number in match.groups()]
        self.start, self.end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]

    def contain(self, now: float) -> bool:
        """Whether a time, in seconds since 1970, lies within them."""
        minute = int(now % 86400) // 60
        if self.start <= self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


class _Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Frozen: a reload replaces the whole configuration or nothing."""


class Regex(str):
    """A regular expression as RE2 knows it: whatever an agent answers, matching takes time in proportion to it."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Raises ValueError."""
        import re2  # noqa: PLC0415  (few configs have one)

        options = re2.Options()
        options.log_errors = False
        try:
            re2.compile(text, options)
        except re2.error as error:
            raise ValueError(f"must be a regular expression of RE2 ({_word(error)})") from error
        return super().__new__(cls, text)

    def finds(self, text: str) -> bool:
        """Whether some part of a text matches."""
        import re2  # noqa: PLC0415

        return re2.search(self, text) is not None


class JSONPath(str):
    """A JMESPath expression, such as `choices[0].message.content`: it names one value, as an answer is one."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Raises ValueError."""
        import jmespath  # noqa: PLC0415  (few configs have one)

        try:
            jmespath.compile(text)
        except (jmespath.exceptions.JMESPathError, ValueError) as error:
            raise ValueError(f"must be a JMESPath expression such as a.b[0].c ({_word(error)})") from error
        return super().__new__(cls, text)

    def of(self, document: Any) -> Any:
        """What it names in a document; None if that is not there. Raises ValueError where a function does not fit."""
        import jmespath  # noqa: PLC0415

        return jmespath.search(self, document)


S = TypeVar("S", bound=_Section)
Positive = Annotated[int, Meta(ge=1)]
PositiveUSD = Annotated[float, Meta(gt=0)]
USD = Annotated[float, Meta(ge=0)]


class Terminate(_Section, frozen=True):
    url: str | None = None
    argv: list[str] | None = None
    auth_header_file: str | None = None


class Agent(_Section, frozen=True):
    """One agent, by name or glob; a name wins over a glob, and the first glob that fits over those after it."""

    team: str | None = None
    expected_cycle: Duration | None = None
    long_call: Duration = Duration(300.0)
    quiet_hours: QuietHours | None = None
    daily_tokens: Positive | None = None
    daily_cost_usd: PositiveUSD | None = None
    baseline_from: date | None = None
    retired: bool = False
    endpoint: str | None = None
    endpoint_headers_file: str | None = None
    """Lines `Name: value`, for a token that does not belong into this file."""
    checks: list[str] | None = None
    """Which health checks it is given; None: the article's four."""
    sources: list[str] | None = None
    terminate: Terminate | None = None


class TaskType(_Section, frozen=True):
    """Budgets and times of the sessions of one task type. Defaults: after the article named in the README."""

    session_tokens: Positive = 50_000
    session_cost_usd: PositiveUSD | None = None
    normal_duration: Duration = Duration(30.0)
    max_duration: Duration = Duration(300.0)
    idle: Duration = Duration(300.0)


class FileSource(_Section, frozen=True):
    """Files to follow, by a glob."""

    path: str
    start_at: Literal["beginning", "end"] = "beginning"
    ignore_plain_text: bool = False


class Server(_Section, frozen=True):
    listen: str = DEFAULT_LISTEN
    token_file: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None
    tls_client_ca_file: str | None = None


class Metrics(_Section, frozen=True):
    max_series: Annotated[int, Meta(ge=10)] = 2_000
    max_samples: Annotated[int, Meta(ge=1_000)] = 100_000
    agent_ttl: Duration = Duration(7 * 86400.0)
    gen_ai: bool = True


class OTLP(_Section, frozen=True):
    """Where spans go. Without an endpoint none are made."""

    endpoint: str | None = None
    compression: Literal["gzip", "none"] = "gzip"
    headers_file: str | None = None
    """Lines `Name: value`, for a token that does not belong into this file."""
    ca_file: str | None = None
    spool_bytes: Annotated[int, Meta(ge=1 << 20)] = 256 << 20
    hold: Duration | None = None
    """Keep a trace's spans together until its sessions have ended, no longer than this."""


class OTLPLogs(_Section, frozen=True):
    """What arrives at /v1/logs."""

    enabled: bool = True
    ignore_plain_text: bool = False


class State(_Section, frozen=True):
    path: str | None = None


class Loop(_Section, frozen=True):
    max_retries: Positive = 3
    max_repeats: Positive = 3
    cycle_rounds: Annotated[int, Meta(ge=2)] = 3
    polling_actions: list[str] = []


class Anomaly(_Section, frozen=True):
    factor: Annotated[float, Meta(gt=1)] = 2.0
    window: Positive = 50
    min_samples: Positive = 20


class Cascade(_Section, frozen=True):
    agents: Annotated[int, Meta(ge=2)] = 3
    window: Duration = Duration(60.0)


class Detectors(_Section, frozen=True):
    reorder: Duration = Duration(3.0)
    loop: Loop = field(default_factory=Loop)
    action_anomaly: Anomaly = field(default_factory=Anomaly)
    cascade: Cascade = field(default_factory=Cascade)


class Long(_Section, frozen=True):
    """The price of a call whose prompt is longer than so many tokens."""

    above: Positive
    input: USD
    output: USD
    cache_read: USD | None = None
    cache_write: USD | None = None


class Price(_Section, frozen=True):
    """Of a model, USD per million tokens. Cached tokens without a price of their own cost what others cost."""

    input: USD
    output: USD
    cache_read: USD | None = None
    cache_write: USD | None = None
    long: Long | None = None


class Prices(_Section, frozen=True):
    """Costs that lines do not say, and a check of those that they do."""

    use_shipped: bool = True
    """The table that comes with the exporter, for models that `models` does not name."""
    tolerance: Annotated[float, Meta(ge=0)] = 0.1
    """Share of the table's cost by which a logged one may differ: rounding, and calls summed up in one line."""
    models: dict[str, Price] = {}


class Breaker(_Section, frozen=True):
    """Stops sessions; docs/breaker.md has the reasons for the defaults."""

    mode: Literal["observe", "enforce"] = "observe"
    reasons: list[Literal["session_budget", "loop", "action_anomaly"]] = field(
        default_factory=lambda: ["session_budget"]
    )
    audit_log: str | None = None
    """Without one: `audit.ndjson` beside the state file."""
    grace: Duration = Duration(30.0)
    confirm_after: Duration = Duration(10.0)
    max_line_age: Duration = Duration(60.0)
    max_kills_per_minute: Positive = 5
    max_kill_share: Annotated[float, Meta(gt=0, le=1)] = 0.2
    min_live_sessions: Positive = 20


class Expect(_Section, frozen=True):
    """What an answer has to be; where several are given, all of them."""

    exact: Any = None
    contains: str | None = None
    regex: Regex | None = None
    json: Any = None
    """These keys and values; there may be others."""
    number: float | None = None
    tolerance: Annotated[float, Meta(ge=0)] = 0.0
    similar: str | None = None
    similarity: Annotated[float, Meta(gt=0, le=1)] = 0.7
    """At least this much, 0 to 1. Measured on tests/logs: answers of one agent to two questions are less alike in 98 of
    100 pairs; another wording of one answer is 0.6 to 0.8. A rough measure: better is what can be said exactly."""


class HealthCheck(_Section, frozen=True):
    """One check. What one of the article's four leaves out here is as it is built in (`exporter.probes.checks`)."""

    path: str | None = None
    body: dict[str, Any] | None = None
    """With one it is a POST of JSON."""
    status: Annotated[int, Meta(ge=100, le=599)] | None = None
    json_path: JSONPath | None = None
    expect: Expect | None = None
    interval: Duration | None = None
    timeout: Duration | None = None


class Benchmark(_Section, frozen=True):
    """A suite of known-good inputs, and who is given it."""

    suite: str
    """The file."""
    agents: list[str]
    interval: Duration | None = None
    """None: it is run by command alone."""
    repetitions: Annotated[int, Meta(ge=1, le=100)] = 1
    timeout: Duration = Duration(60.0)
    """For one answer."""


class Config(_Section, frozen=True):
    """The whole file."""

    agents: dict[str, Agent] = {}
    task_types: dict[str, TaskType] = {}
    llm_actions: list[str] = field(default_factory=lambda: ["llm_call", "chat*", "completion*", "generate*"])
    sources: dict[str, FileSource] = {}
    otlp_logs: OTLPLogs = field(default_factory=OTLPLogs)
    server: Server = field(default_factory=Server)
    metrics: Metrics = field(default_factory=Metrics)
    otlp: OTLP = field(default_factory=OTLP)
    state: State = field(default_factory=State)
    detectors: Detectors = field(default_factory=Detectors)
    prices: Prices = field(default_factory=Prices)
    breaker: Breaker = field(default_factory=Breaker)
    health_checks: dict[str, HealthCheck] = {}
    benchmarks: dict[str, Benchmark] = {}

    def agent(self, name: str) -> Agent:
        """The settings of an agent: its own, or the first glob's that fits it, or the defaults."""
        own = self.agents.get(name)
        if own is not None:
            return own
        return next((agent for glob, agent in self.agents.items() if fnmatchcase(name, glob)), _NOBODY)

    def names(self) -> list[str]:
        """Agents that are configured by name, those retired left out."""
        return [name for name, agent in self.agents.items() if not is_glob(name) and not agent.retired]

    def task_type(self, name: str) -> TaskType:
        """The settings of a task type: its own, or those of `default`."""
        return self.task_types.get(name) or self.task_types.get("default") or _ANY_TASK

    def is_llm(self, action: str) -> bool:
        """Whether an action is a call of a model; every other one is a tool call."""
        return _any_of(*self.llm_actions).match(action) is not None

    def missing_files(self) -> list[tuple[str, str]]:
        """(key, path) of files that are named and not there. No fault: it may be checked on another machine."""
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
        """Where operators are listened to."""
        return None if self.state.path is None else Path(f"{self.state.path}.sock").absolute()

    def audit_log(self) -> Path | None:
        """Where the breaker writes down what it does."""
        if self.breaker.audit_log is not None:
            return Path(self.breaker.audit_log)
        return Path(self.state.path).with_name("audit.ndjson") if self.state.path is not None else None


_NOBODY = Agent()
_ANY_TASK = TaskType()


def load(path: Path) -> Config:
    """Read and check a file. Raises ConfigError with every fault."""
    return parse(text_of(path), str(path))


def text_of(path: Path) -> str:
    """A file's text. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8 ({error.reason} at byte {error.start})"]) from error


def headers_in(path: Path) -> dict[str, str]:
    """The lines `Name: value` of a file. Raises OSError, UnicodeDecodeError."""
    pairs = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines())
    return {name.strip(): value.strip() for name, colon, value in pairs if colon}


def parse(text: str, name: str = "config") -> Config:
    """Check a YAML document. Raises ConfigError with every fault, each beginning with `name`."""
    return read_strictly(text, name, Config, _contradictions)


def read_strictly(text: str, name: str, wanted: type[S], contradictions: Callable[[S], Iterable[str]]) -> S:
    """A YAML document as a section whose keys all have defaults. Raises ConfigError with every fault."""
    try:
        document = yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError([f"{name}{where}: {problem}"]) from error
    except RecursionError as error:
        raise ConfigError([f"{name}: nested too deeply"]) from error
    document = {} if document is None else document
    faults = list(_faults(document, wanted, ""))
    if isinstance(document, Mapping):
        # Sections without a fault are looked at further, so that all faults are told at once.
        sound = {key: value for key, value in document.items() if not any(_faults({key: value}, wanted, ""))}
        of_names = {key for key, hint in get_type_hints(wanted).items() if get_origin(hint) is dict}
        for section in of_names & sound.keys():  # `name:` with nothing after it is a name with the defaults
            sound[section] = {name: {} if inner is None else inner for name, inner in sound[section].items()}
        config = msgspec.convert(sound, wanted, dec_hook=_decode)
        faults += contradictions(config)
        if not faults:
            return config
    raise ConfigError([f"{name}: {fault}" for fault in faults])


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, which YAML forbids and PyYAML lets pass: the first would be lost silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (dict, list)):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
            if key in seen:
                problem = f"the key {key!r} is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _faults(value: Any, wanted: Any, path: str) -> Iterator[str]:
    """Every fault in a value that is to have the type `wanted`."""
    origin = get_origin(wanted)
    if origin in {Union, types.UnionType}:
        if value is None:
            return
        wanted = next(kind for kind in get_args(wanted) if kind is not type(None))
        origin = get_origin(wanted)
    if _is_section(wanted):
        yield from _faults_of_section(value, wanted, path)
    elif origin is dict:
        if not isinstance(value, Mapping):
            yield f"{path}: must be a mapping of names, not {_shown(value)}"
            return
        for key, inner in value.items():
            if not isinstance(key, str):
                yield f"{_join(path, str(key))}: the name must be text: put it in quotes"
            elif not key or len(key.encode()) > 256:
                yield f"{_join(path, key)}: the name must be 1 to 256 bytes"
            else:
                yield from _faults({} if inner is None else inner, get_args(wanted)[1], _join(path, key))
    elif origin is list and isinstance(value, list) and _is_section(get_args(wanted)[0]):
        for number, inner in enumerate(value):
            yield from _faults(inner, get_args(wanted)[0], f"{path}[{number}]")
    elif origin is Literal:
        if value not in get_args(wanted):
            yield f"{path}: must be {' or '.join(get_args(wanted))}, not {_shown(value)}"
    else:
        try:
            msgspec.convert(value, wanted, dec_hook=_decode)
        except msgspec.ValidationError as error:
            yield f"{path}: {_sentence(error, value)}"


def _is_section(wanted: Any) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, _Section)


def _faults_of_section(value: Any, wanted: type[_Section], path: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{path or 'the file'}: must be a mapping, not {_shown(value)}"
        return
    hints = get_type_hints(wanted, include_extras=True)
    for key, inner in value.items():
        if key in hints:
            yield from _faults(inner, hints[key], _join(path, key))
        else:
            close = difflib.get_close_matches(str(key), hints, n=1)
            hint = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(hints)}"
            yield f"{_join(path, str(key))}: unknown key{hint}"
    for info in msgspec.structs.fields(wanted):
        if info.required and info.name not in value:
            yield f"{_join(path, info.name)}: is required"


def _contradictions(config: Config) -> Iterator[str]:
    """What is wrong between keys, or within a text."""
    if bool(config.server.tls_cert_file) != bool(config.server.tls_key_file):
        yield "server: tls_cert_file and tls_key_file belong together"
    if config.server.tls_client_ca_file and not config.server.tls_cert_file:
        yield "server.tls_client_ca_file: has no meaning without tls_cert_file"
    fault = listen_fault(config.server.listen)
    if fault:
        yield f"server.listen: {fault}"
    if config.otlp.endpoint is not None:
        fault = url_fault(config.otlp.endpoint)
        if fault:
            yield f"otlp.endpoint: {fault}"
    for name in config.sources.keys() & {"otlp", "-"}:
        yield f"sources.{name}: the name is taken, by {'/v1/logs' if name == 'otlp' else 'standard input'}"
    for name, task in config.task_types.items():
        if task.normal_duration > task.max_duration:
            yield f"task_types.{name}: normal_duration is longer than max_duration"
    for name, agent in config.agents.items():
        for source in agent.sources or ():
            if fault := source_fault(source):
                yield f"agents.{name}.sources: {fault}"
        yield from _faults_of_terminate(config, name, agent)
    if config.breaker.mode == "enforce" and config.state.path is None:
        yield "breaker.mode: enforce needs state.path, so that a restart knows whom it has stopped"
    from exporter.probes import settings  # noqa: PLC0415  (made of the sections above)

    yield from settings.faults(config)


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
    if how.argv is not None and how.argv and "{" in how.argv[0]:
        yield f"{where}.argv: an id from a log line cannot be the command"
    for key, text in [("url", how.url or ""), *(("argv", argument) for argument in how.argv or ())]:
        for place in set(_PLACES.findall(text)) - {"{session_id}", "{agent_id}"}:
            yield f"{where}.{key}: nothing is put for {place}; there are {{session_id}} and {{agent_id}}"
    for flag, text in pairwise(how.argv or ()):
        if flag in {"-c", "-e", "--eval"} and _PLACES.search(text):
            yield (
                f"{where}.argv: an id from a log line cannot be part of a program's text: have it follow as an "
                "argument of its own, and let the program take that ($1)"
            )
    if config.breaker.mode == "enforce" and not agent.sources:
        yield f'agents.{name}.sources: is required in enforce mode: whose lines may have it stopped? ["*"] is a choice'


def listen_fault(text: str) -> str | None:
    """What is wrong with an address to listen at, or None."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return f"{text!r} must be HOST:PORT, such as {DEFAULT_LISTEN} or [::1]:10777"
    if host != "localhost":
        try:
            ip_address(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            return f"{host!r} is neither an address nor localhost"
    return None


def source_fault(glob: str) -> str | None:
    """What is wrong with an entry of `sources`, or None; exporter/breaker/authority.py says what they mean."""
    if glob in {"*", "-"} or glob.startswith("/") or glob.partition("=")[0] not in {"", glob}:
        return None
    return f'{glob!r} must be an absolute path, "-", an attribute such as "k8s.pod.name=research-*", or "*"'


def url_fault(text: str) -> str | None:
    """What is wrong with the address of an HTTP server, or None."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        return f"{text!r}: {error}"
    if url.scheme not in {"http", "https"} or not url.hostname or port == 0:
        return f"{text!r} must be http://HOST:PORT or https://HOST:PORT"
    return None


def duration(text: str) -> Duration:
    """Read a duration as it is written in the file. Raises ValueError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds <= 366 * 86400:
        raise ValueError("must be a duration above zero, such as 30s, 5m or 7d")
    return Duration(seconds)


def _decode(wanted: type, value: Any) -> Any:
    if wanted is Duration:
        return duration(value if isinstance(value, str) else "")
    if wanted is QuietHours:
        return QuietHours(value if isinstance(value, str) else "")
    if wanted in {Regex, JSONPath}:
        if not isinstance(value, str):
            raise ValueError("must be text")
        return wanted(value)
    raise NotImplementedError(wanted)


def _sentence(error: msgspec.ValidationError, value: Any) -> str:
    text = str(error).split(" - at `")[0]
    if text.startswith("must"):
        return f"{text}, not {_shown(value)}"
    names = text.split("`")
    words = {
        "int": "a whole number", "str": "text", "bool": "true or false", "float": "a number", "array": "a list",
        "object": "a mapping", "date": "a date such as 2026-11-24",
    }  # fmt: skip
    if text.startswith("Expected") and len(names) > 1:
        kind = words.get(names[1].split(" | ")[0], names[1])
        bound = names[2].split(",")[0].strip()
        return f"must be {kind}{' ' + bound if bound else ''}, not {_shown(value)}"
    if "date" in text:
        return f"must be a date such as 2026-11-24, not {_shown(value)}"
    return f"{text[:1].lower()}{text[1:]}"


def _shown(value: Any) -> str:
    return "nothing" if value is None else ascii(value)[:60]


def _join(path: str, key: str) -> str:
    shown = plain(key)
    return f"{path}.{shown}" if path else shown


def _word(error: Exception) -> str:
    """The first line of what another library says, which may be bytes."""
    said = error.args[0] if error.args and isinstance(error.args[0], bytes) else str(error)
    text = said.decode(errors="replace") if isinstance(said, bytes) else said
    return text.splitlines()[0].rstrip(":") if text else type(error).__name__


def plain(text: str) -> str:
    """A text as it is, unless it would play tricks with a terminal."""
    return text if text.isprintable() else ascii(text)


@lru_cache(maxsize=8)
def _any_of(*globs: str) -> re.Pattern[str]:
    """Matches what one of the globs does. Asked for every line whose action has no series of its own."""
    return re.compile("|".join(map(translate, globs)) or r"(?!)")


def is_glob(name: str) -> bool:
    """Whether it stands for many names."""
    return any(character in name for character in "*?[")

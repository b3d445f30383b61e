"""The log schema, version 1: bytes in, an `Action` or a `Rejection` out.

    {"timestamp": "2026-03-18T09:15:32.441Z", "agent_id": "research-agent-01", "session_id": "sess_8f2a1b",
     "action": "web_search", "status": "success", "tokens": {"prompt": 1240, "completion": 856}, ...}

The structs below `Record` are the schema: msgspec decodes into them, and the published JSON Schema is made from
them (`schema.py`). Decoding straight into typed structs was measured at 0.6 us a line, against 6 us for `json` and
81 us for `jsonschema`; that is why there is no validation step of its own.

A line that fails there is decoded once more, leniently: what stands in input and output, and optional fields that are
malformed, never decide whether a line counts. Names, time, status, tokens and duration stay strict.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from hashlib import sha256
from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args, get_type_hints

import msgspec
from msgspec import Meta, Raw, Struct
from msgspec.structs import force_setattr

from agent_exporter.statuses import WORDS, key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MAX_DEPTH = 64
"""Objects and arrays inside one another; docs/log-schema.md."""
MAX_TOKENS = 10_000_000
"""Per record; beyond it a typo or an attack is likelier than a call. docs/log-schema.md."""
MAX_COST_USD = 10_000.0
"""Per record; docs/log-schema.md."""
MAX_DURATION_MS = 366 * 86_400_000.0
"""A year. Not in the article: without a bound one line could make a histogram's sum infinite for ever."""
MAX_COUNT = 2**31 - 1
"""For retry_count: what every consumer of a span attribute can hold."""
MAX_AHEAD = 600.0
"""Seconds that a timestamp may lie in the future; what is dated later counts as written now. docs/log-schema.md."""

Reason = Literal[
    "not_json",
    "not_object",
    "missing_field",
    "wrong_type",
    "out_of_range",
    "too_long",
    "too_deep",
    "bad_timestamp",
    "bad_encoding",
]
REASONS: tuple[Reason, ...] = get_args(Reason)

STATUSES = ("success", "error", "timeout", "cancelled", "other")
"""The label `status`; whatever else a line says is counted as `other`."""
FAILED = frozenset({"error", "timeout"})
STATES = ("idle", "working", "other")
"""The label `state` of a heartbeat."""
HEARTBEAT = "heartbeat"

Name = Annotated[str, Meta(min_length=1, max_length=256, description="1 to 256 bytes of UTF-8")]
Count = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]
# `$` would let a newline follow in Python and not in ECMAScript: "nothing follows" is said in full instead.
TraceId = Annotated[
    str, Meta(pattern=r"^(?!0{32})[0-9a-fA-F]{32}(?![\s\S])", description="32 hex digits, not all zero")
]
SpanId = Annotated[str, Meta(pattern=r"^(?!0{16})[0-9a-fA-F]{16}(?![\s\S])", description="16 hex digits, not all zero")]


class _Part(Struct, frozen=True, gc=False):
    """Frozen; fields it does not know are skipped, since agents add their own; never garbage-collected alone."""


class Content(_Part, frozen=True):
    """Any object. Its fields are checked as JSON and left where they are."""


class Error(_Part, frozen=True):
    type: str | None = None
    message: str | None = None


class Output(_Part, frozen=True):
    confidence: Annotated[float, Meta(ge=0, le=1)] | None = None
    state: str | None = None
    detail: str | Content | None = None
    error: str | Error | None = None


class Tokens(_Part, frozen=True):
    prompt: Annotated[Count, Meta(description="all input tokens, the cached ones included")] | None = None
    completion: Count | None = None
    cache_read: Annotated[Count, Meta(description="part of prompt")] | None = None
    cache_write: Annotated[Count, Meta(description="part of prompt")] | None = None
    model: str | None = None
    cost_usd: Annotated[float, Meta(ge=0, le=MAX_COST_USD)] | None = None

    @property
    def total(self) -> int:
        """Prompt and completion. Inline (`inline: Tokens.total`) in what runs for each line."""
        return (self.prompt or 0) + (self.completion or 0)


class Metadata(_Part, frozen=True):
    retry_count: Annotated[int, Meta(ge=0, le=MAX_COUNT)] | None = None
    fallback_used: bool | None = None
    task_type: str | None = None
    team: str | None = None
    parent_agent_id: Annotated[str, Meta(description="the agent that handed this task over")] | None = None
    session_end: Annotated[bool, Meta(description="the last action of its session")] | None = None
    session_paused: Annotated[bool, Meta(description="the session waits for a person")] | None = None
    task_completed: Annotated[bool, Meta(description="the session's outcome")] | None = None
    feedback: Annotated[float, Meta(ge=-1, le=1, description="of the user, -1 bad to 1 good")] | None = None


class Record(_Part, frozen=True):
    """One line as it is written. Absent and null mean unknown; zero is a value."""

    timestamp: Annotated[datetime, Meta(tz=True, description="RFC 3339 with zone; the END of the action")]
    agent_id: Name
    session_id: Name
    action: Name
    status: Annotated[
        str, Meta(description="success, error, timeout or cancelled, or a word that counts as one of them")
    ]
    input: Content | str | list[Any] | float | bool | None = None
    output: Output | str | list[Any] | float | bool | None = None
    tokens: Tokens | None = None
    duration_ms: Annotated[float, Meta(ge=0, le=MAX_DURATION_MS)] | None = None
    parent_trace_id: Annotated[str, Meta(description="the task, passed on at every handoff")] | None = None
    trace_id: TraceId | None = None
    span_id: SpanId | None = None
    parent_span_id: SpanId | None = None
    error: str | Error | None = None
    metadata: Metadata | None = None


class _Contents(_Part, frozen=True):
    input: Raw = Raw(b"null")
    output: Raw = Raw(b"null")
    error: Raw = Raw(b"null")


class Action(Record, frozen=True):
    """One thing that an agent did: its record, with when and the line itself. Crosses the program and never changes.

    Its `status` is one of STATUSES, whatever word the line has for it.

    The decoder fills it in one go, as copying the fields into a struct of another shape cost as much as decoding them.
    """

    if TYPE_CHECKING:
        at: float = 0.0
        """End of the action, seconds since 1970."""
        line: bytes = b""
        """The record as it was read. Input and output may be private: they leave the exporter only on request."""
    else:
        # Not part of the schema: a line that has a key of this name has its value ignored, whatever it is.
        at: Any = msgspec.field(default=None, name=" at")
        line: Any = msgspec.field(default=None, name=" line")

    @property
    def duration(self) -> float | None:
        """Seconds."""
        return None if self.duration_ms is None else self.duration_ms / 1000

    @property
    def began(self) -> float:
        """Seconds since 1970; without a duration, when it ended.

        What runs for each line has this inline (`inline: Action.began`): a call took 70 ns more, of some 10 us a line.
        """
        return self.at if self.duration_ms is None else self.at - self.duration_ms / 1000

    @property
    def state(self) -> str:
        """Of a heartbeat: one of STATES."""
        output = self.output
        return _STATE.get((isinstance(output, Output) and output.state) or "other", "other")

    @property
    def error_type(self) -> str | None:
        """Where agents write it: in `error`, or in `output.error`."""
        error = self._error()
        return error.type if isinstance(error, Error) else None

    @property
    def error_message(self) -> str | None:
        """The same of the message; an error that is a string is its message."""
        error = self._error()
        return error.message if isinstance(error, Error) else error

    def _error(self) -> str | Error | None:
        if self.error is None and isinstance(self.output, Output):
            return self.output.error
        return self.error

    @property
    def written(self) -> float:
        """The time that the line itself says, in seconds since 1970; `at`, but of a line that is ahead of the clock."""
        return self.timestamp.timestamp()

    def contents(self) -> tuple[bytes | None, bytes | None]:
        """The JSON of input and output, decoded from the line only when asked for; None when absent or null."""
        contents = _decode_contents(self.line)
        return _known(contents.input), _known(contents.output)


class Mended(Action, frozen=True):
    """An action of which something is taken otherwise than it is written; its line is JSON even where the one that was
    read is not."""

    if TYPE_CHECKING:
        ignored: tuple[str, ...] = ()
        """Paths of the fields that do not fit and count as absent, each one of OPTIONAL_FIELDS."""
        cleaned: bool = False
        """Whether its content was not JSON as it was read, or nested too deep: null, U+FFFD or a hash stands for it."""
        ahead: bool = False
        """Whether its timestamp is more than MAX_AHEAD ahead of the clock; `at` is the clock then."""
    else:
        ignored: Any = msgspec.field(default=(), name=" ignored")
        cleaned: Any = msgspec.field(default=False, name=" cleaned")
        ahead: Any = msgspec.field(default=False, name=" ahead")


class Rejection(NamedTuple):
    """A line that is not a record. `reason` is the label; `detail` says what to change in the line."""

    reason: Reason
    detail: str


_decode_action = msgspec.json.Decoder(Action).decode
_decode_mended = msgspec.json.Decoder(Mended).decode
_decode_contents = msgspec.json.Decoder(_Contents).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_STATE = {state: state for state in STATES}
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_SQUARE = ord("[")
"""A byte is found six times faster as a number than as bytes."""
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def decode(line: bytes, latest: float = float("inf"), words: Mapping[str, str] = WORDS) -> Action | Rejection:
    """Decode one record.

    `latest` is the clock plus MAX_AHEAD, in seconds since 1970: a line that is dated later counts as written now, since
    either clock may be the wrong one. `words` has the status that each word counts as (`statuses.words`).
    Never raises.
    """
    try:
        # Counting every bracket is a cheap upper bound of the depth; only a line with many is looked at closely.
        brackets = line.count(b"{")
        if _SQUARE in line:
            brackets += line.count(b"[")
        if brackets > MAX_DEPTH and depth(line) > MAX_DEPTH:
            return _decode_deep(line, latest, words)
        if not line.isascii():
            line.decode()  # msgspec does not look into the strings of fields that it skips
        action = _decode_action(line)
    except (ValueError, RecursionError) as fault:
        mended = _mend(line, fault)
        if isinstance(mended, Rejection):
            return mended
        action = mended
        line = mended.line
    at = action.timestamp.timestamp()
    if at > latest or at < 0:
        if at < 0:
            return Rejection("bad_timestamp", f"timestamp {action.timestamp.isoformat()} is before 1970")
        at = latest - MAX_AHEAD
        if not isinstance(action, Mended):
            action = _decode_mended(line)
        force_setattr(action, "ahead", True)
    # The schema bounds characters; no name of 64 characters can have more than 256 bytes.
    if len(action.agent_id) > 64 or len(action.session_id) > 64 or len(action.action) > 64:
        for field in ("agent_id", "session_id", "action"):
            if len(getattr(action, field).encode()) > 256:
                return Rejection("out_of_range", f"{field} must be 1 to 256 bytes of UTF-8")
    force_setattr(action, "at", at)
    force_setattr(action, "line", line)
    if action.status != "success":
        force_setattr(action, "status", _status(action, words))
    return action


def _status(action: Action, words: Mapping[str, str]) -> str:
    """One of STATUSES. A word that is not known is an error if the line has one."""
    word = action.status
    return words.get(word) or words.get(key(word)) or ("error" if _has_error(action.line) else "other")


def _has_error(line: bytes) -> bool:
    """Whether `error` or `output.error` says anything."""
    contents = _decode_contents(line)
    errors = [contents.error]
    if bytes(contents.output).startswith(b"{"):
        errors += [raw for name, raw in _decode_fields(contents.output).items() if name == "error"]
    return any(map(_says, errors))


def _says(error: Raw) -> bool:
    """Whether there is anything in it but what stands for nothing."""
    raw = bytes(error)
    if raw.startswith(b"{"):
        return any(map(_says, _decode_fields(raw).values()))
    return raw not in _NO_ERROR


_NO_ERROR = frozenset({b"null", b"false", b"0", b'""', b"[]"})


def stamp(at: float) -> str:
    """A time, seconds since 1970, as our own lines have it: RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def trace_id_of(name: str) -> str:
    """The W3C trace id of a task: 32 hex digits as they are, lower-cased; of anything else the SHA-256's first 32."""
    if len(name) == 32 and _HEX32.fullmatch(name):
        return name.lower()
    return sha256(name.encode()).hexdigest()[:32]


_HEX32 = re.compile("(?!0{32})[0-9a-fA-F]{32}")


def depth(line: bytes) -> int:
    """How deep objects and arrays are nested; brackets inside of strings do not count.

    Works on text that is not JSON, too, and in time linear in its length for any depth up to MAX_DEPTH: each round
    takes the innermost pairs away.
    """
    brackets = _TEXT.sub(b"", line).translate(None, _NOT_BRACKETS)
    brackets = brackets.translate(bytes.maketrans(b"[]", b"{}"))
    if b"{" * (MAX_DEPTH + 1) in brackets:  # not needed for the answer; spares 64 rounds over a bomb of brackets
        return MAX_DEPTH + 1
    level = 0
    while brackets and level <= MAX_DEPTH:
        smaller = brackets.replace(b"{}", b"")
        if len(smaller) == len(brackets):  # what is left is not balanced: a lower bound will do
            return level + max(brackets.count(b"{"), brackets.count(b"}"))
        brackets, level = smaller, level + 1
    return level


# --- content that is nested too deep ---------------------------------------------------------------------------------

_NEVER_LEFT_OUT = frozenset({"timestamp", "agent_id", "session_id", "action", "status", "duration_ms", "tokens"})
_NULLS = frozenset({"metadata", "parent_trace_id", "trace_id", "span_id", "parent_span_id"})


def _decode_deep(line: bytes, latest: float, words: Mapping[str, str]) -> Action | Rejection:
    """The record of a line that is nested too deep, if only fields are that may be left out.

    A hash stands for content, so that equal content stays equal.
    """
    too_deep = Rejection("too_deep", f"objects and arrays may be nested {MAX_DEPTH} deep at most")
    try:
        fields = _decode_fields(line)
    except (ValueError, RecursionError):  # the decoder's own limit is about a thousand
        return too_deep
    for name, value in fields.items():
        if depth(bytes(value)) >= MAX_DEPTH:
            if name in _NEVER_LEFT_OUT:
                return too_deep
            digest = sha256(value).hexdigest()
            fields[name] = Raw(b"null" if name in _NULLS else f'"sha256:{digest}"'.encode())
    action = decode(msgspec.json.encode(fields), latest, words)
    if isinstance(action, Rejection):
        return action
    mended = action if isinstance(action, Mended) else _decode_mended(action.line)
    for name in ("at", "line", "status"):
        force_setattr(mended, name, getattr(action, name))
    force_setattr(mended, "cleaned", True)
    return mended


# --- lenient: only lines that fail above pay for this ---------------------------------------------------------------


class _Optional(NamedTuple):
    """A field that may be ignored. `inside` are those of an object, which may be ignored each by itself."""

    fits: Callable[[Raw | str], object]
    inside: Mapping[str, _Optional] = MappingProxyType({})
    kept: bool = False
    """The field itself is not ignored: it is strict, or any value of it is accepted."""


def _optionals(struct: type[Struct], *names: str, **nested: _Optional) -> dict[str, _Optional]:
    hints = get_type_hints(struct, include_extras=True)
    return {name: _Optional(msgspec.json.Decoder(hints[name]).decode) for name in names} | nested


_ERROR = _Optional(msgspec.json.Decoder(str | Error | None).decode, _optionals(Error, "type", "message"))
_OUTPUT = _optionals(Output, "confidence", "state", "detail", error=_ERROR)
_METADATA = _optionals(Metadata, *Metadata.__struct_fields__)
_OPTIONAL = _optionals(
    Record,
    *("parent_trace_id", "trace_id", "span_id", "parent_span_id"),
    error=_ERROR,
    metadata=_Optional(msgspec.json.Decoder(Metadata | None).decode, _METADATA),
    tokens=_Optional(msgspec.json.Decoder(Tokens | None).decode, _optionals(Tokens, "model"), kept=True),
    output=_Optional(msgspec.json.Decoder(Output | None).decode, _OUTPUT, kept=True),
)


def _paths(fields: Mapping[str, _Optional], before: str = "") -> Iterator[str]:
    for name, field in fields.items():
        if not field.kept:
            yield before + name
        yield from _paths(field.inside, f"{before}{name}.")


OPTIONAL_FIELDS = tuple(sorted(_paths(_OPTIONAL)))
"""Paths of the fields that count as absent where they are malformed, the label `field`."""


def _mend(line: bytes, fault: Exception) -> Mended | Rejection:
    """Decode without what does not fit and may be missing; `fault` is what the strict decoder says."""
    parsed: Any = None
    kept = line
    try:
        if isinstance(fault, UnicodeDecodeError):
            raise fault
        fields = _decode_fields(line)
    except (ValueError, RecursionError):
        parsed = parse(line)
        if not isinstance(parsed, dict):
            return _explain(line, fault)
        # Whatever is not JSON fits no field outside of input and output: an empty list stands for it.
        fields = _decode_fields(json.dumps(_clean(parsed, list, lambda _: [])))
        kept = json.dumps(_clean(parsed, lambda: None, lambda text: _SURROGATE.sub("\ufffd", text))).encode()
    as_read = dict(fields)
    ignored: list[str] = []
    fields.pop("input", None)
    _drop_unfit(fields, _OPTIONAL, "", ignored)
    if not bytes(fields.get("output", b"")).startswith(b"{"):
        fields.pop("output", None)
    try:
        action = _decode_mended(msgspec.json.encode(fields))
    except (ValueError, RecursionError) as found:
        if parsed is None:
            return _explain(line, found)
        match = _PATH.match(str(found))
        name = ((match and match["path"]) or "").split(".")[0]
        spoilt = name in as_read and bytes(as_read[name]) != bytes(_decode_fields(kept)[name])
        return _explain(line, fault) if spoilt else _explain(kept, found)
    force_setattr(action, "line", kept)
    force_setattr(action, "ignored", tuple(sorted(ignored)))
    force_setattr(action, "cleaned", kept is not line)
    return action


def _drop_unfit(fields: dict[str, Raw], known: Mapping[str, _Optional], before: str, ignored: list[str]) -> None:
    """Take out what does not fit, and add its path to `ignored`."""
    for name, field in known.items():
        if name not in fields or _fits(field, fields[name]):
            continue
        if field.inside and bytes(fields[name]).startswith(b"{"):
            inside = _decode_fields(fields[name])
            _drop_unfit(inside, field.inside, f"{before}{name}.", ignored)
            fields[name] = Raw(msgspec.json.encode(inside))
        elif not field.kept:
            del fields[name]
            ignored.append(before + name)


def _fits(field: _Optional, raw: Raw) -> bool:
    try:
        field.fits(raw)
    except (ValueError, RecursionError):
        return False
    return True


def why_unfit(line: bytes, path: str) -> str:
    """What the author of a line has to write instead in a field that is ignored, one of OPTIONAL_FIELDS."""
    parsed = parse(line)
    known: Mapping[str, _Optional] = _OPTIONAL
    for name in path.split("."):
        parsed, field = parsed[name], known[name]
        known = field.inside
    spoilt = spoilt_by(parsed)
    if isinstance(parsed, float) and spoilt:
        parsed = 1
    elif isinstance(parsed, str) and spoilt:
        parsed = "0" * (32 if path.endswith("trace_id") else 16)
    try:
        field.fits(json.dumps(_clean(parsed, lambda: None, lambda text: _SURROGATE.sub("\ufffd", text))))
    except (ValueError, RecursionError) as fault:
        match = _PATH.match(str(fault))
        if match and match["path"] is None:
            demand = _demand(match["what"])
            return f"{path} {demand.replace('not a whole number', 'not a number') if spoilt else demand}"
    return f"{path} holds {spoilt}" if spoilt else f"{path} must be JSON"


def spoilt_by(value: Any) -> str:
    """What is no JSON in a value that `parse` has read, such as "NaN or Infinity"; empty if all of it is."""
    if isinstance(value, str) and (found := _SURROGATE.search(value)):
        escaped = "\udc80" <= found[0] <= "\udcff"  # for a byte of the line: see `parse`
        return "bytes that are not UTF-8" if escaped else "half of a surrogate pair (\\ud800 to \\udfff)"
    if isinstance(value, float) and not isfinite(value):
        return "a number that is not finite (NaN, Infinity, 1e999)"
    if isinstance(value, list | dict):
        inside = (spoilt_by(inner) for inner in (value.values() if isinstance(value, dict) else value))
        return next(filter(None, inside), "")
    return ""


_SURROGATE = re.compile("[\ud800-\udfff]")


def parse(line: bytes) -> Any:
    """A line as Python's own writer may have made it: NaN, half surrogate pairs, other bytes than UTF-8. Or None."""
    try:
        return json.loads(line.decode("utf-8", "surrogateescape"), parse_int=_whole)
    except (ValueError, RecursionError):
        return None


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < 4_000 else float(digits)  # `int` refuses more than 4,300


def _clean(value: Any, number: Callable[[], object], text: Callable[[str], object]) -> Any:
    """A value with something else for numbers that are not finite, and for strings with half a surrogate pair."""
    if isinstance(value, str):
        return text(value) if _SURROGATE.search(value) else value
    if isinstance(value, float):
        return value if isfinite(value) else number()
    if isinstance(value, list):
        return [_clean(inner, number, text) for inner in value]
    if isinstance(value, dict):
        return {_SURROGATE.sub("\ufffd", key): _clean(inner, number, text) for key, inner in value.items()}
    return value


# --- what a line is rejected for -------------------------------------------------------------------------------------


def _known(raw: Raw) -> bytes | None:
    text = bytes(raw)
    return None if text == b"null" else text


_PATH = re.compile(r"(?:^| - )(?P<what>.*?)(?: - at `(?:key in )?\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)


def _explain(line: bytes, error: Exception) -> Rejection:
    """Say what is wrong with a line that did not decode. Only bad lines pay for this."""
    if isinstance(error, UnicodeDecodeError):
        return Rejection("bad_encoding", f"byte {error.start} is not UTF-8: write the line as UTF-8")
    if isinstance(error, RecursionError):
        return Rejection("too_deep", f"objects and arrays may be nested {MAX_DEPTH} deep at most")
    try:
        # A decoder that stops at the first wrong type has not seen whether the rest is JSON at all.
        msgspec.json.decode(line)
    except UnicodeDecodeError as bad:
        return Rejection("bad_encoding", f"byte {bad.start} is not UTF-8: write the line as UTF-8")
    except (ValueError, RecursionError) as bad:
        if b"\\u" in line and _is_json_but_for_surrogates(line):
            return Rejection("bad_encoding", "half of a surrogate pair (\\ud800 to \\udfff) stands alone in a string")
        if "out of range" in str(bad):
            return Rejection("out_of_range", "a number is too large for a 64-bit float: numbers must be finite")
        if b"NaN" in line or b"Infinity" in line:
            return Rejection("not_json", "NaN and Infinity are not JSON: leave the field out, or write null")
        if line.startswith(b"\xef\xbb\xbf"):
            return Rejection("not_json", "a byte order mark (EF BB BF) stands before the record: leave it out")
        return Rejection("not_json", f"not JSON: {_lower(str(bad))}")
    match = _PATH.match(str(error))
    what, path = (match["what"], match["path"]) if match else (str(error), None)
    if path is None and "missing required field" not in what:
        return Rejection("not_object", f"a record is an object {{...}}, not {_kind(what.rsplit('`', 2)[1])}")
    if "missing required field" in what:
        name = what.rsplit("`", 2)[1]
        return Rejection("missing_field", f"{path + '.' if path else ''}{name} is required")
    if path == "timestamp" and "got" not in what:
        return Rejection("bad_timestamp", _BAD_TIME)
    reason: Reason = "wrong_type" if "got `" in what else "out_of_range"
    return Rejection(reason, f"{path} {_demand(what)}")


_BAD_TIME = (
    "timestamp must be RFC 3339, a moment that exists (without leap seconds), with a zone, "
    "such as 2026-03-18T09:15:32.441Z"
)


def _is_json_but_for_surrogates(line: bytes) -> bool:
    try:
        json.loads(line).__repr__().encode()
    except UnicodeEncodeError:
        return True
    except (ValueError, RecursionError):
        return False
    return "\\ud" in json.dumps(json.loads(line)).lower()


def _lower(sentence: str) -> str:
    sentence = sentence.replace("JSON is malformed: ", "").replace("Input data was truncated", "the text ends too soon")
    return sentence[:1].lower() + sentence[1:]


_KINDS = {
    "str": "a string",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "an object",
    "array": "an array",
    "null": "null",
    "datetime": "a string such as 2026-03-18T09:15:32.441Z",
}


def _kind(names: str) -> str:
    """In words: `int | null` is "a whole number", as every optional field may be null."""
    kinds = [_KINDS.get(name, name) for name in names.split(" | ")]
    return " or ".join(kind for kind in kinds if kind != "null" or len(kinds) == 1)


def _demand(what: str) -> str:
    """The decoder's "Expected `int | null`, got `float`" as what the author of the line has to write instead."""
    if "regex" in what:
        return f"must be {32 if '{32}' in what else 16} hex digits, not all zero"
    if "length" in what:
        return "must be 1 to 256 bytes of UTF-8"
    if "Expected" not in what:
        return "must be a finite number within bounds"
    names = what.split("`")
    if "got `" in what:
        got = "a number with a fraction or exponent" if names[1].startswith("int") and names[3] == "float" else None
        return f"must be {_kind(names[1])}, not {got or _kind(names[3])}"
    return f"must be {_kind(names[1])}{names[2]}".replace(".0", "")

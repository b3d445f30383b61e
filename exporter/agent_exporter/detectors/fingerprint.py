"""When are two calls the same? A hash of agent, action, input and outcome, with what is never the same left out.

These two have one fingerprint, as only the ids of the calls and a time differ:

    {"agent_id": "a", "action": "search", "input": {"q": "x", "request": "9f86d081"}, "status": "error",
     "output": {"error": {"type": "RateLimitError", "message": "slow down (request 1b4f0e)"}}}
    {"agent_id": "a", "action": "search", "input": {"request": "60303ae2", "q": "x"}, "status": "error",
     "output": {"error": {"type": "RateLimitError", "message": "slow down (request fd61a0)"}}}

Left out of what comes out: ids of calls, times and counters of attempts, by the names of their keys. Of the input,
which is what the call was about, only those whose values say the same: random ids of a request, and the time at which
the call was made. Masked in what comes out: UUIDs and times within texts; of a failure every number, id, address and
temporary path. Never masked: other numbers, since
`{"percent": 40}` after `{"percent": 30}` is progress and `INV-1002` after `INV-1001` is the next item.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from xxhash import xxh3_64_intdigest

from agent_exporter.action import FAILED, STATUSES
from agent_exporter.statuses import WORDS, key

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_FAILURE = 8_192
"""Characters of a failure's text that are compared: of a longer one, the begin says what happened."""
_NUMBER = re.compile(r"[-+]?\d[\d.,]*+(?:[ \u00a0\u2009\u202f\u2019'_]\d{3}(?!\d))*+(?:[.,]\d++)?(?:[eE][-+]?\d++)?")
"""Within a text: with a sign, thousands however they are set apart, a fraction and an exponent."""
UNKNOWN = 0
"""The fingerprint of a call without an input or an outcome: it equals nothing, not even itself."""

_VOLATILE = re.compile(
    r"(?:(?:request|req|run|call|tool_?call|trace|span|session|correlation|invocation|execution|idempotency)_?(?:id|key)"
    r"|uuid|guid|nonce|timestamp|ts|time|now|date_?time|(?:created|updated|started|finished|ended|requested|sent)_?at"
    r"|(?:start|end|elapsed|response|request)_?time|(?:duration|elapsed|latency|took)(?:_?(?:ms|s|seconds))?"
    r"|attempts?|attempt_?(?:number|no)|retry|retries|retry_?count|seq|sequence|counter)",
    re.IGNORECASE,
)
"""Keys whose values say which call it was, or when, and not what it was about."""
LONGEST_WORD = 48
"""Characters of a word whose mask is remembered: 8,192 of them are 1 MB."""
LONGEST_KEY = 32
"""Of those; a longer one is not looked up, so that what is remembered of keys stays small."""
_REQUEST = re.compile(
    r"(?:request|req|call|tool_?call|trace|span|correlation|invocation|idempotency)_?(?:id|key)|request|req|call|nonce",
    re.IGNORECASE,
)
"""Keys of an input whose values say which call it was, if they are random. Ids of runs or sessions are arguments."""
_MOMENT = re.compile(
    r"timestamp|ts|time|now|date_?time|(?:requested|sent|created|updated|started)_?at|(?:start|request)_?time",
    re.IGNORECASE,
)
"""Keys of an input whose values say when the call was made, if they are the time of its line."""
_ATTEMPT = re.compile(r"attempts?|attempt_?(?:number|no)|retry|retries|retry_?count", re.IGNORECASE)
"""Keys of an input that count how often the same was tried."""
_RANDOM = re.compile(r"(?:[a-z]{1,12}[_-])?(?=[a-z]*\d)(?=\d*[a-z])[a-z0-9]{12,}", re.IGNORECASE)
NEAR = 60.0
"""Seconds between the time in an input and that of its line, at most, for the time to be that of the call."""
_PERHAPS = re.compile(r"(?:request|req|run|call|id)", re.IGNORECASE)
"""Keys that are volatile where the value is an opaque id: `"run": "9f86d081"`, not `"run": "unit tests"`."""
_OPAQUE = re.compile(
    r"(?=[a-z_\-]*\d)(?:[a-z]{1,8}[_\-])?[0-9a-f]{6,64}|[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE
)
_MASKED = re.compile(
    r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
    r"|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"[^\s'\"<>(){}\[\],;=|]+")
"""A word of a failure's text. One pass over them is linear in its length, whatever the text is."""
_PART = re.compile(r"[^/\\]+")
"""Of a path."""
_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{16,}")
"""What may be base64."""
_CHANGES = re.compile(r"(?<=[a-z])[A-Z0-9]|(?<=[A-Z])[a-z0-9]|(?<=[0-9])[A-Za-z]")
"""Where letters change their case, or become digits: at two thirds of the characters of base64, a fifth of a path's."""
_WORD = re.compile(r"\w+")
_MILLISECONDS = re.compile(r"[.,]\d{3}")
_MASKS = re.compile(r"#(?:[^\w#]*#)+")
_DIGIT = re.compile(r"\d")
_TEMPORARY = re.compile(
    r"(?<![\w.-])(?:/private)?/(?:tmp|var/tmp|var/folders|dev/shm|run/user/\d+)/|\$TE?MP(?:DIR)?/|%TE?MP%[/\\]",
    re.IGNORECASE,
)
"""How the path of a temporary file begins, also after `file://` or `stat:`."""
_DRIVE = re.compile(r"(?<![a-z])[a-z]:[/\\]", re.IGNORECASE)
_TEMP_FOLDER = re.compile(r"[/\\]te?mp[/\\]", re.IGNORECASE)
"""Of Windows, somewhere below a drive."""
_TEMP_NAME = re.compile(r"(?<![a-z0-9])tmp[a-z0-9_]{8}(?![a-z0-9_])")
"""As Python names temporary files, in whatever folder."""
_QUERY = re.compile(r"\?[^\s'\"<>?=]{1,64}=[^\s'\"<>]*")
"""Of an address: signatures, times and cursors."""
_AT_ADDRESS = re.compile(r"@[0-9a-f]{6,}", re.IGNORECASE)
"""Of an object: `Thread@abcdefab`."""
_POD = re.compile(r"[\w.-]+-[bcdfghjklmnpqrstvwxz]{5}[.:]?")
"""As Kubernetes names pods: letters without vowels behind the name. With digits they are masked anyway."""
_OF_A_DATE = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[.,]?")
_LETTERS = re.compile(
    r"(?:[0-9a-f]{8,}|(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}|[0-9a-f:]{0,39}::[0-9a-f:]{0,39})[.:]?", re.IGNORECASE
)
"""Ids and addresses that happen to be written with letters alone. An IPv6 address has 39 characters at most."""
_ID_WORDS = r"(?:request|req|run|call|toolu|msg|message|trace|span|session|sess|job|task|tx|event|evt|resp|chatcmpl)"
_PREFIXED = re.compile(rf"(?i:{_ID_WORDS})[_-](?=[a-z]*[A-Z])[A-Za-z_-]{{6,}}[.:]?")
"""Ids of letters alone, by what stands before them: `req_AbCdEfGhIj`."""
_MADE_OF_LETTERS = (_LETTERS, _PREFIXED, _POD, _OF_A_DATE)
_NAMES_ID = re.compile(rf"(?i:{_ID_WORDS}?[_-]?(?:id|uuid|guid)|{_ID_WORDS})[:#]?")
_OPAQUE_WORD = re.compile(r"(?=[a-z]*[A-Z])(?=[A-Z]*[a-z])[A-Za-z_-]{8,}[.:]?")
"""After a word that names an id, mixed letters are one: `request id: AbCdEfGhIj`."""


class _Call(Struct, gc=False):
    agent_id: str
    action: str
    status: str
    timestamp: str = ""
    duration_ms: Any = None
    input: Any = None
    output: Any = None
    error: Any = None


_decode_call = msgspec.json.Decoder(_Call).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def _call(line: bytes) -> _Call | None:
    """The call of a line, an error within its output moved to where other lines have theirs; None if it is not JSON."""
    try:
        call = _decode_call(line)
    except ValueError:  # a number beyond 64 bits somewhere in it
        return None
    if call.output.__class__ is dict and call.error is None:
        call.error = call.output.pop("error", None)
    return call


def fingerprint(line: bytes, *, failed: bool | None = None) -> int:
    """63 bits of a call, or UNKNOWN. The line must be a valid record. The same in every process and version.

    `failed` says whether its status is an error or a timeout; None: by the usual words for these.
    """
    return fingerprints(line, failed=failed)[0]


def fingerprints(line: bytes, *, failed: bool | None = None) -> tuple[int, int]:
    """The fingerprint of a call, and its gist: a second one that leaves out every number of what came of it.

    Equal gists are the same call with outcomes that differ in numbers alone, not in how many. Both may be UNKNOWN.
    """
    call = _call(line)
    if call is None:
        return UNKNOWN, UNKNOWN
    given, came, error = call.input, call.output, call.error
    if failed is None:
        failed = WORDS.get(key(call.status)) in FAILED
    if given is None or (came is None and error is None):
        return UNKNOWN, UNKNOWN
    came = _canonical(came, _failure if failed and came.__class__ is str else _outcome)
    status = call.status
    if status not in STATUSES:  # most lines have one of them, and need no look-up
        status = WORDS.get(key(status)) or ("error" if failed else status)
    called = _encode((call.agent_id, call.action, status, _given(given, call)))
    error = _canonical(error, _failure)
    whole = xxh3_64_intdigest(called[:-1] + b"," + _encode((came, error))[1:]) >> 1 or 1
    return whole, xxh3_64_intdigest(called + _encode((_canonical(came, _numberless), error))) >> 1 or 1


def failure(line: bytes) -> tuple[int, int]:
    """How a call failed, whatever it was given: 63 bits of what it said, and of that without the words of its input.

    Both are UNKNOWN where the line does not say. Failures are alike if either is equal: `No such file: a.csv` says the
    same to `cat a.csv` and to `echo no; head a.csv`, while a command that failed may say no more than its own text.
    """
    call = _call(line)
    if call is None:
        return UNKNOWN, UNKNOWN
    error = next((said for said in (call.error, call.output) if said is not None and said not in _SAYS_NOTHING), None)
    if error is None:
        if WORDS.get(key(call.status)) != "timeout":
            return UNKNOWN, UNKNOWN
        error = "timeout"  # the status says it
    status = WORDS.get(key(call.status), "error")
    said = _encode((call.action, status, _canonical(error, _failure)))
    whole = xxh3_64_intdigest(said) >> 1 or 1
    words = _words(call.input)
    if not words:
        return whole, whole

    def bare(text: str) -> str:
        masked = _WORD.sub(lambda word: "#" if word[0].casefold() in words else word[0], _failure(text))
        return _MASKS.sub("#", masked)

    return whole, xxh3_64_intdigest(_encode((call.action, status, _canonical(error, bare)))) >> 1 or 1


def _words(given: Any) -> set[str]:
    """The words of an input, of its keys too; of a long one those at its begin."""
    words: set[str] = set()
    room = LONGEST_FAILURE
    waiting = [given]
    while waiting and room > 0:
        value = waiting.pop()
        if value.__class__ is dict:
            waiting += [*value.values(), *value]
        elif value.__class__ is list:
            waiting += value
        elif value.__class__ is str:
            words.update(_WORD.findall(value[:room].casefold()))
            room -= len(value)
    return words


def has_milliseconds(line: bytes) -> bool:
    """Whether the time of a line is written in milliseconds or finer: else two calls may well have the same time."""
    call = _call(line)
    return call is not None and _MILLISECONDS.search(call.timestamp) is not None


def outcome_of(value: Any) -> Any:
    """What came out of a call, without ids, times, counters of attempts, or how sure it was."""
    if isinstance(value, dict):
        value = {key: inner for key, inner in value.items() if key != "confidence"}
    return _canonical(value, None)


def _outcome(text: str) -> str:
    return _MASKED.sub("#", text) if "-" in text else text  # both a UUID and a time have one


def _failure(text: str) -> str:
    """The text of a failure without what differs each time: ids, addresses, temporary files, and all with a digit.

    Several in a row are as one: `1 002 ms` is `980 ms`.
    """
    masked: list[str] = []
    names_id = False
    text = text[:LONGEST_FAILURE]
    if "?" in text:
        text = _QUERY.sub("?#", text)
    for token in _TOKEN.findall(text):
        said = _word(token, names_id) if len(token) <= LONGEST_WORD else _token(token, names_id=names_id)
        if said != "#" or masked[-1:] != ["#"]:
            masked.append(said)
        names_id = _NAMES_ID.fullmatch(token) is not None
    return " ".join(masked)


def _numberless(text: str) -> str:
    return _NUMBER.sub("#", text)


@lru_cache(maxsize=8192)
def _word(token: str, names_id: bool) -> str:  # noqa: FBT001  (keywords cost twice as much in a cache)
    """`_token` of a short one, remembered: failures are made of few words."""
    return _token(token, names_id=names_id)


def _token(token: str, *, names_id: bool) -> str:
    temporary = _TEMPORARY.search(token)
    if temporary is None and (folder := _TEMP_FOLDER.search(token)):
        temporary = _DRIVE.search(token, 0, folder.start() + 1)
    if temporary:
        return f"{token[: temporary.start()]}#" if not _DIGIT.search(token, 0, temporary.start()) else "#"
    token = _AT_ADDRESS.sub("#", _TEMP_NAME.sub("#", _ENCODED.sub(_encoded, token)))
    if _DIGIT.search(token):
        if "/" not in token and "\\" not in token:
            return "#"
        return _PART.sub(lambda part: "#" if _DIGIT.search(part[0]) else part[0], token)
    if any(kind.fullmatch(token) for kind in _MADE_OF_LETTERS) or (names_id and _OPAQUE_WORD.fullmatch(token)):
        return "#"
    return token


def _encoded(found: re.Match[str]) -> str:
    """# for base64; a path or a name stays."""
    text = found[0]
    changes = len(_CHANGES.findall(text)) / len(text)
    return "#" if changes >= (0.4 if _DIGIT.search(text) else 0.5) else text


_NUMBERS_STAY = (None, _outcome)
_SAYS_NOTHING: tuple[object, ...] = ({}, "", [], 0, False)
"""Values of `error` that stand where nothing went wrong, or where the rest of the output says what did."""


def _canonical(value: Any, mask: Callable[[str], str] | None) -> Any:
    """A JSON value without what is volatile, its strings masked, and its numbers where `mask` masks those in strings.

    Encoding sorts keys.
    """
    kind = value.__class__
    if kind is str:
        return value if mask is None else mask(value)
    if kind is dict:
        kept = {}
        for key, inner in value.items():
            volatile = len(key) <= LONGEST_KEY and _volatile(key)
            if volatile is None:
                volatile = inner.__class__ is str and _OPAQUE.fullmatch(inner) is not None
            if not volatile:
                # As most values are text or whole numbers, these are not worth a call.
                simple = inner.__class__
                if (simple is int and mask in _NUMBERS_STAY) or (simple is str and mask is None):
                    kept[key] = inner
                else:
                    kept[key] = _canonical(inner, mask)
        return kept
    if kind is list:
        return [_canonical(inner, mask) for inner in value]
    if mask not in _NUMBERS_STAY and (kind is int or kind is float):
        return "#"
    if kind is float and value.is_integer():
        return int(value)  # 1.0 is 1 in JSON
    return value


def _given(value: Any, call: _Call) -> Any:
    """An input without what says which call it was, or when. An object of nothing but ids keeps them: it asks for them.

    Encoding sorts keys.
    """
    kind = value.__class__
    if kind is dict:
        kept, ids = {}, {}
        for key, inner in value.items():
            simple = inner.__class__
            pattern = _volatile_given(key) if len(key) <= LONGEST_KEY and simple not in (dict, list) else None
            if pattern is _REQUEST and simple is str and (_OPAQUE.fullmatch(inner) or _RANDOM.fullmatch(inner)):
                ids[key] = inner
            elif not ((pattern is _ATTEMPT and simple is int) or (pattern is _MOMENT and _is_now(inner, call))):
                kept[key] = inner if simple is str or simple is int else _given(inner, call)
        return kept or ids
    if kind is list:
        return [_given(inner, call) for inner in value]
    if kind is float and value.is_integer():
        return int(value)  # 1.0 is 1 in JSON
    return value


def _is_now(value: Any, call: _Call) -> bool:
    """Whether a text, or a number of seconds or of parts of a second since 1970, is the time of the call."""
    ended = _moment(call.timestamp)
    moment = _moment(value)
    if ended is None or moment is None:
        return False
    took = call.duration_ms / 1000 if isinstance(call.duration_ms, int | float) else 0.0
    return ended - took - NEAR <= moment <= ended + NEAR


def _moment(value: Any) -> float | None:
    """Seconds since 1970 of a time, without a zone of one in UTC; None if it is no time."""
    try:
        if isinstance(value, str) and not value.isdecimal():
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        seconds = float(value)
    except (ValueError, TypeError, OverflowError):
        return None
    while seconds > 1e11:  # the year 5138; milliseconds, microseconds or nanoseconds
        seconds /= 1000
    return seconds


@lru_cache(maxsize=4096)
def _volatile_given(key: str) -> re.Pattern[str] | None:
    """Which of the patterns of an input's keys a key matches."""
    return next((pattern for pattern in (_REQUEST, _MOMENT, _ATTEMPT) if pattern.fullmatch(key)), None)


@lru_cache(maxsize=4096)
def _volatile(key: str) -> bool | None:
    """Whether the values of a key are left out; None if that depends on the value. Agents have few keys: remembered."""
    if _VOLATILE.fullmatch(key):
        return True
    return None if _PERHAPS.fullmatch(key) else False

"""When are two calls the same? A hash of agent, action, input and outcome, with what is never the same left out.

These two have one fingerprint, as only the ids of the calls and a time differ:

    {"agent_id": "a", "action": "search", "input": {"q": "x", "request": "9f86d081"}, "status": "error",
     "output": {"error": {"type": "RateLimitError", "message": "slow down (request 1b4f0e)"}}}
    {"agent_id": "a", "action": "search", "input": {"request": "60303ae2", "q": "x"}, "status": "error",
     "output": {"error": {"type": "RateLimitError", "message": "slow down (request fd61a0)"}}}

Left out of input and output: ids of calls, times and counters of attempts, by the names of their keys. Masked in what
comes out: UUIDs and times within texts; in the text of a failure every number. Never masked: other numbers, since
`{"percent": 40}` after `{"percent": 30}` is progress and `INV-1002` after `INV-1001` is the next item.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from xxhash import xxh3_64_intdigest

from agent_exporter.action import FAILED
from agent_exporter.statuses import WORDS, key

if TYPE_CHECKING:
    from collections.abc import Callable

UNKNOWN = 0
"""The fingerprint of a call that does not tell its input or its outcome: it equals nothing, not even itself."""

_VOLATILE = re.compile(
    r"(?:(?:request|req|run|call|tool_?call|trace|span|session|correlation|invocation|execution|idempotency)_?(?:id|key)"
    r"|uuid|guid|nonce|timestamp|ts|time|now|date_?time|(?:created|updated|started|finished|ended|requested|sent)_?at"
    r"|(?:start|end|elapsed|response|request)_?time|(?:duration|elapsed|latency|took)(?:_?(?:ms|s|seconds))?"
    r"|attempts?|attempt_?(?:number|no)|retry|retries|retry_?count|seq|sequence|counter)",
    re.IGNORECASE,
)
"""Keys whose values say which call it was, or when, and not what it was about."""
LONGEST_KEY = 32
"""Of those; a longer one is not looked up, so that what is remembered of keys stays small."""
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
_NUMBERS = re.compile(r"(?<![0-9a-z])(?=[a-f]*\d)[0-9a-f]{6,}(?![0-9a-z])|\d+(?:\.\d+)?", re.IGNORECASE)
"""In the text of a failure: hex ids of six digits and more, and every number."""


class _Call(Struct, gc=False):
    agent_id: str
    action: str
    status: str
    input: Any = None
    output: Any = None
    error: Any = None


_decode_call = msgspec.json.Decoder(_Call).decode
_encode = msgspec.json.Encoder(order="deterministic").encode


def fingerprint(line: bytes, *, failed: bool | None = None) -> int:
    """63 bits of a call, or UNKNOWN. The line must be a valid record. The same in every process and version.

    `failed` says whether its status is an error or a timeout; None: by the usual words for these.
    """
    try:
        call = _decode_call(line)
    except ValueError:  # a number beyond 64 bits somewhere in it
        return UNKNOWN
    given, came, error = call.input, call.output, call.error
    if failed is None:
        failed = WORDS.get(key(call.status)) in FAILED
    if given is None or (came is None and error is None):
        return UNKNOWN
    if came.__class__ is dict and error is None:
        error = came.pop("error", None)
    came = _canonical(came, _failure if failed and came.__class__ is str else _outcome)
    what = (call.agent_id, call.action, call.status, _canonical(given, None), came, _canonical(error, _failure))
    return xxh3_64_intdigest(_encode(what)) >> 1 or 1


def outcome_of(value: Any) -> Any:
    """What came out of a call, without ids, times, counters of attempts, or how sure it was."""
    if isinstance(value, dict):
        value = {key: inner for key, inner in value.items() if key != "confidence"}
    return _canonical(value, None)


def _outcome(text: str) -> str:
    return _MASKED.sub("#", text) if "-" in text else text  # both a UUID and a time have one


def _failure(text: str) -> str:
    return _NUMBERS.sub("#", _outcome(text))


def _canonical(value: Any, mask: Callable[[str], str] | None) -> Any:
    """A JSON value without what is volatile, its strings masked. Keys are sorted when it is encoded."""
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
                if simple is int or (simple is str and mask is None):
                    kept[key] = inner
                else:
                    kept[key] = _canonical(inner, mask)
        return kept
    if kind is list:
        return [_canonical(inner, mask) for inner in value]
    if kind is float and value.is_integer():
        return int(value)  # 1.0 is 1 in JSON
    return value


@lru_cache(maxsize=4096)
def _volatile(key: str) -> bool | None:
    """Whether the values of a key are left out; None if that depends on the value. Agents have few keys: remembered."""
    if _VOLATILE.fullmatch(key):
        return True
    return None if _PERHAPS.fullmatch(key) else False

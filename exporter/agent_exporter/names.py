"""Other names that a line may have for our fields: of other loggers, in another spelling, or with a slip."""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from agent_exporter.action import Metadata, Record, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NAMES = 64
"""Names of a line, of its tokens and of its metadata that are compared with those of fields: 75 us each. A line of a
megabyte has 40,000 and took 3 s, in which a running exporter reads nothing."""

_FIELDS = {name: name for name in Record.__struct_fields__}
_INSIDE = {
    **{name: f"tokens.{name}" for name in Tokens.__struct_fields__},
    **{name: f"metadata.{name}" for name in Metadata.__struct_fields__},
}
_OTHER_NAMES = {
    "timestamp": ("time", "ts", "@timestamp", "datetime"),
    "agent_id": ("agent", "agent_name"),
    "session_id": ("session", "conversation_id", "thread_id"),
    "action": ("action_name", "tool", "tool_name"),
    "status": ("outcome", "state", "level"),
    "duration_ms": ("duration", "latency", "latency_ms", "elapsed_ms", "duration_seconds"),
    "tokens": ("usage", "token_usage"),
    "tokens.prompt": ("prompt_tokens", "input_tokens"),
    "tokens.completion": ("completion_tokens", "output_tokens"),
    "tokens.cache_read": ("cache_read_tokens", "cache_read_input_tokens", "cached_tokens"),
    "tokens.cache_write": ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens"),
    "tokens.model": ("model", "model_name", "model_id"),
    "tokens.cost_usd": ("cost", "cost_dollars", "total_cost"),
    "metadata.retry_count": ("retries", "retry"),
    "parent_trace_id": ("parent_trace",),
}
"""As OpenAI, Anthropic and common loggers call them."""
_OF_TOKENS = {
    "input": "tokens.prompt",
    "output": "tokens.completion",
    "in": "tokens.prompt",
    "out": "tokens.completion",
}
"""In `tokens` only; on the line itself `input` and `output` are fields."""


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9@]", "", name.lower())


_MEANT = {_key(name): path for name, path in (_INSIDE | _FIELDS).items()} | {
    _key(name): path for path, names in _OTHER_NAMES.items() for name in names
}
_LONG = [name for name in _MEANT if len(name) >= 6]


@lru_cache(maxsize=4096)
def meant_by(name: str) -> str | None:
    """The field that a name is a near miss of, or another word for; None if there is none."""
    key = _key(name[:64])
    if key in _MEANT:
        return _MEANT[key]
    close = get_close_matches(key, _LONG, 1, cutoff=0.85) if len(key) >= 5 else []
    return _MEANT[close[0]] if close else None


def misnamed(parsed: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(path as it is written, path that is meant) of names that are no fields, if the field is missing."""
    taken = set()
    for where, known in (("", Record), ("tokens", Tokens), ("metadata", Metadata)):
        part = parsed.get(where) if where else parsed
        for name in islice(part, MAX_NAMES) if isinstance(part, dict) else ():
            if name in known.__struct_fields__ or not isinstance(name, str):
                continue
            meant = (where == "tokens" and _OF_TOKENS.get(_key(name[:64]))) or meant_by(name)
            if where and meant in {"status", "action", "timestamp", "error", None}:
                continue  # metadata is theirs, but for near misses of what is meant to be there
            if meant is not None and meant not in taken and not _has(parsed, meant):
                taken.add(meant)
                yield (f"{where}.{name}" if where else name), meant


def _has(parsed: dict[str, Any], path: str) -> bool:
    *above, name = path.split(".")
    part: Any = parsed
    for key in above:
        part = part.get(key)
        if not isinstance(part, dict):
            return False
    return name in part

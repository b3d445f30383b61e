"""The records of one stream as lines of our schema: rules are tried in order, and the first that fits takes a record.

What a stream remembers is bounded: its variables, and calls that have begun. What was counted once is in `Memory`,
which all streams share.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from agent_exporter.formats.mapping.keys import COUNTED
from agent_exporter.formats.prefixed import record_in
from agent_exporter.lines import MAX_LINE, Batch

if TYPE_CHECKING:
    from agent_exporter.formats.mapping.language import Mapping, Rule
    from agent_exporter.formats.mapping.memory import Memory

MAX_OPEN = 1024
"""Calls of one stream that have begun and not ended, the oldest go first; an agent has a handful."""
MAX_OPEN_BYTES = 4 << 20
"""Of what is kept of them."""
MAX_KEPT = 64 << 10
"""Bytes of one value that is kept; of a longer one only its length."""
MAX_VARIABLE = 1024
"""Characters of a text that is remembered; a longer one is not."""
MAX_EMITTED = 16 << 20
"""Bytes of lines that one record may become; the rest is dropped and counted as `too_many`. Half of the longest
transcripts' records come to one line, the rest to a few."""
_TYPE = re.compile(r"[\w.:/-]{1,64}", re.ASCII)
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.encode
_LEFT_OUT = ("output", "input", "error")
"""What is left out of a line that would be longer than the decoder takes, in this order."""


class StreamState(msgspec.Struct):
    """What a stream remembers, in a row of state."""

    variables: dict[str, Any] = {}
    open: dict[str, dict[str, Any]] = {}


class Records:
    """One stream. `path` is that of its file, empty if it has none."""

    def __init__(self, mapping: Mapping, memory: Memory, path: str = "", dumped: StreamState | None = None) -> None:
        self.mapping = mapping
        self._memory = memory
        self._variables: dict[str, Any] = dumped.variables if dumped else mapping.variables(path)
        self._open: dict[str, dict[str, Any]] = dumped.open if dumped else {}
        self._open_bytes = sum(map(_size, self._open.values()))
        self._left = 0

    def dump(self) -> StreamState:
        """For a row."""
        return StreamState(
            {name: x for name, x in self._variables.items() if name not in {"start", "outer"}}, self._open
        )

    def take_over(self, before: Records) -> None:
        """Go on with a file that was rotated away."""
        self._variables = before._variables | self._variables
        self._open = before._open | self._open
        self._open_bytes = sum(map(_size, self._open.values()))

    def feed(self, batch: Batch) -> Batch:
        """The lines that records become. What is no JSON object, and a line that is ours, is passed on as it is."""
        out: list[bytes] = []
        skipped: dict[str, int] = {}
        silent = 0
        for raw in batch.lines:
            record = parse(raw)
            if record is None:
                out.append(raw)
                continue
            before = len(out)
            kind = self._record(record, raw, out)
            if kind:
                skipped[kind] = skipped.get(kind, 0) + 1
            elif len(out) == before:
                silent += 1
        return batch._replace(lines=out, skipped=skipped, silent=silent)

    def _record(self, r: dict[str, Any], raw: bytes, out: list[bytes]) -> str:
        """Add its lines. Returns the type of a record that no rule takes, else ""."""
        mapping, v = self.mapping, self._variables
        if mapping.inside is not None:
            inner = mapping.inside(r, None, v)
            if inner.__class__ is dict:
                v["outer"] = r
                r = inner
        rules = mapping.general
        if mapping.switch is not None:
            kind = mapping.switch(r, None, v)
            if kind.__class__ is str:
                rules = mapping.by_type.get(kind, rules)
        taken = False
        self._left = MAX_EMITTED
        for rule in rules:
            if rule.when is not None and not rule.when(r, None, v):
                continue
            taken = taken or not rule.continues or rule.emit is not None
            if rule.each is None:
                self._apply(rule, r, None, v, out)
            else:
                elements = rule.each(r, None, v)
                if elements.__class__ is list:
                    where = rule.where
                    for e in elements:
                        if where is None or where(r, e, v):
                            self._apply(rule, r, e, v, out)
            if not rule.continues:
                break
        if mapping.inside is not None:
            v.pop("outer", None)
        if self._left < 0:
            return f"{mapping.name}/too_many"
        if taken:
            return ""
        if "agent_id" in r and "session_id" in r and "action" in r:  # a line of ours beside those of another logger
            out.append(raw)
            return ""
        found = mapping.type(r, None, v) if mapping.type is not None else None
        named = found.__class__ is str and _TYPE.fullmatch(found)
        return f"{mapping.name}/{found if named else 'other' if found is not None else 'record'}"

    def _apply(self, rule: Rule, r: Any, e: Any, v: dict[str, Any], out: list[bytes]) -> None:
        for name, f in rule.remember:
            x = _kept(f(r, e, v))
            if x.__class__ in _SCALARS or (x.__class__ is str and len(x) <= MAX_VARIABLE):
                v[name] = x
        if rule.start is not None:
            self._begin(rule, r, e, v)
        if rule.end is not None:
            v["start"] = self._end(rule.end(r, e, v))
        if rule.emit is not None:
            line = rule.emit(r, e, v)
            new = rule.once is None or self._once(rule.once(r, e, v), line)
            new = new and (rule.delta is None or self._delta(rule.delta(r, e, v), line))
            if new and not rule.mute and self._left >= 0:
                text = encode(line)
                self._left -= len(text)
                if self._left >= 0:
                    out.append(text)
        if rule.end is not None:
            del v["start"]

    # --- calls that have begun -----------------------------------------------------------------------------------

    def _begin(self, rule: Rule, r: Any, e: Any, v: dict[str, Any]) -> None:
        key = _key(rule.start(r, e, v))  # type: ignore[misc]
        if key is None:
            return
        self._end(key)
        kept = {name: x for name, f in rule.keep if (x := _kept(f(r, e, v))) is not None}
        self._open[key] = kept
        self._open_bytes += _size(kept)
        while len(self._open) > MAX_OPEN or self._open_bytes > MAX_OPEN_BYTES:
            self._end(next(iter(self._open)))
            self._memory.dropped_calls += 1

    def _end(self, found: Any) -> dict[str, Any]:
        key = _key(found)
        kept = None if key is None else self._open.pop(key, None)
        if kept is None:
            return {}
        self._open_bytes -= _size(kept)
        return {name: msgspec.Raw(x) if x.__class__ is bytes else x for name, x in kept.items()}

    # --- what is counted once ------------------------------------------------------------------------------------

    def _once(self, found: Any, line: dict[str, Any]) -> bool:
        """Whether anything of the line is new; its tokens are then what is new of them."""
        name = _key(found)
        if name is None:
            return True
        memory = self._memory
        key = memory.key(self.mapping.name, "once", name)
        before = memory.get(key)
        tokens = line.get("tokens", {})
        now = [tokens.get(each) or 0 for each in COUNTED] if tokens else []
        if before is None:
            memory.put(key, now if any(now) else [])
            return True
        before = before or [0] * len(COUNTED)
        if not now or not any(x > y for x, y in zip(now[:2], before, strict=False)):
            return False
        for each, x, y in zip(COUNTED, now, before, strict=True):
            if each in tokens:
                tokens[each] = max(0, x - y)
        memory.put(key, [max(x, y) for x, y in zip(now, before, strict=True)])
        return True

    def _delta(self, found: Any, line: dict[str, Any]) -> bool:
        """Whether the totals have moved; the tokens are then by how much. Lower totals begin anew."""
        name = _key(found)
        tokens = line.get("tokens")
        if name is None or tokens is None:
            return False
        memory = self._memory
        key = memory.key(self.mapping.name, "delta", name)
        before = memory.get(key) or [0] * len(COUNTED)
        now = [tokens.get(each) or 0 for each in COUNTED]
        if now == before:
            return False
        memory.put(key, now)
        if now[0] >= before[0]:
            for each, x, y in zip(COUNTED, now, before, strict=True):
                if each in tokens:
                    tokens[each] = max(0, x - y)
        return bool(tokens.get("prompt") or tokens.get("completion"))


_SCALARS = frozenset({int, float, bool})
_MOST = 1 << 63
"""Whole numbers from here on do not fit a row of state."""


def _key(x: Any) -> str | None:
    """A key is a text or a whole number."""
    if x.__class__ is str:
        return _whole(x) if len(x) <= MAX_VARIABLE else None
    return str(x) if x.__class__ is int and -_MOST < x < _MOST else None


def _whole(x: str) -> str:
    """A text without halves of surrogate pairs, which a row cannot hold."""
    try:
        x.encode()
    except UnicodeEncodeError:
        return x.encode(errors="replace").decode()
    return x


def _kept(x: Any) -> Any:
    """A value as it is remembered: scalars as they are, all else as JSON; of what is long, only the length."""
    kind = x.__class__
    if kind is str:
        return _whole(x) if len(x) <= MAX_KEPT else encode({"cut": len(x)})
    if x is None or kind is float or kind is bool:
        return x
    if kind is int:
        return x if -_MOST < x < _MOST else None
    text = encode(x)
    return text if len(text) <= MAX_KEPT else encode({"cut": len(text)})


def _size(kept: dict[str, Any]) -> int:
    """About the bytes of what is kept of a call."""
    return 100 + sum(len(x) if x.__class__ in {str, bytes} else 16 for x in kept.values())


def parse(line: bytes) -> dict[str, Any] | None:
    """The object in a line, also behind a prefix, with NaN, or with half a surrogate pair; None if there is none."""
    try:
        found = _decode(line)
    except (ValueError, RecursionError):
        within = record_in(line)
        found = _leniently(line if within is None else within)
    return found if found.__class__ is dict else None


def _leniently(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def encode(line: Any) -> bytes:
    """As JSON: as UTF-8 if it can be, else as ASCII, which has half a surrogate pair and whole numbers of any length.

    Of a line that would be too long for the decoder, content is left out.
    """
    text = _encoded(line)
    if len(text) > MAX_LINE and line.__class__ is dict:
        for name in _LEFT_OUT:
            if name in line:
                line[name] = {"cut": len(_encoded(line[name]))}
                text = _encoded(line)
                if len(text) <= MAX_LINE:
                    break
    return text


def _encoded(x: Any) -> bytes:
    try:
        return _encode(x)
    except (ValueError, OverflowError, TypeError, RecursionError):
        pass
    try:
        return json.dumps(x, separators=(",", ":"), default=lambda raw: json.loads(bytes(raw))).encode()
    except (ValueError, TypeError, RecursionError):
        return b"null"

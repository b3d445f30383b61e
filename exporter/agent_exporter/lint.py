"""What is wrong or odd about a line, all of it, in sentences for whoever writes it.

A *fault* rejects the line; its kind is one of `action.REASONS`. A *warning* does not; its kind is one of WARNINGS.
Faults are what `decode` says, which is asked again with each fault mended: so the two cannot disagree.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from operator import contains
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from agent_exporter.action import (
    MAX_AHEAD,
    MAX_DEPTH,
    Action,
    Mended,
    Record,
    Rejection,
    decode,
    depth,
    parse,
    spoilt_by,
    why_unfit,
)
from agent_exporter.formats.prefixed import record_in
from agent_exporter.names import MAX_NAMES
from agent_exporter.names import misnamed as find_misnamed
from agent_exporter.prices import CACHE_APART, UNPRICED, Prices
from agent_exporter.records import Foreign, read_again
from agent_exporter.statuses import WORDS
from agent_exporter.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent_exporter.action import Reason

Warning_ = Literal[
    "field_ignored",
    "field_misnamed",
    "record_inside",
    "content_not_json",
    "timestamp_ahead",
    "status_other",
    "model_unpriced",
    "prompt_without_cache",
    "whole_seconds",
    "zone",
]
WARNINGS: tuple[Warning_, ...] = get_args(Warning_)
MAX_FAULTS = 20
"""Of one line: more than there are fields that can be wrong."""
WIDTH = 60
"""Characters of an excerpt."""
FEW = 20
"""Times on whole seconds that may be so by chance: of times in milliseconds, so many are it once in 10^60."""
ZONES = 14
"""Hours by which the zones of the world differ from UTC at most."""
PARTS = (0, 0.5, 0.75)
"""Of an hour by which zones differ from UTC: India by 5:30, Nepal by 5:45."""
ZONE_SLACK = 60.0
"""Seconds between the newest line and the file's own time that do not come from a wrong zone."""


class Remark(NamedTuple):
    """A fault or a warning. `field` is its path in the line, empty if it is about the whole; `excerpt` is printable."""

    kind: str
    field: str
    detail: str
    excerpt: str = ""

    @property
    def is_warning(self) -> bool:
        return self.kind in WARNINGS


class Lint:
    """For the lines of one file; `words` and `prices` are those of the config.

    Excerpts may hold what an agent was given and answered, and cost a scan of the line: a running exporter has none.
    """

    def __init__(
        self, words: Mapping[str, str] = WORDS, prices: Prices | None = None, *, excerpts: bool = True
    ) -> None:
        self._words = words
        self._prices = prices or Prices()
        self._excerpts = excerpts
        self._times = self._whole = 0
        self._newest = 0.0

    def line(self, line: bytes, latest: float = float("inf")) -> tuple[Action | Rejection, list[Remark]]:
        """What a line is decoded to, and all that is to be said about it; `latest` is that of `decode`."""
        result = decode(line, latest, self._words)
        if isinstance(result, Rejection):
            again = read_again(line, result, latest, self._words)
            if isinstance(again, Foreign):
                return again, [*_record_inside(line)]
            within = record_in(line)
            if within is not None and isinstance(parse(within), dict):
                line, result = within, again  # behind a prefix
        parsed = parse(line)
        if not isinstance(parsed, dict):
            assert isinstance(result, Rejection)
            return result, [self._fault(result, line)]
        misnamed = dict(find_misnamed(parsed))
        if isinstance(result, Rejection):
            remarks = self._faults(result, line, parsed, latest, misnamed)
        else:
            self._times += 1
            written = result.written
            self._whole += written.is_integer()
            self._newest = max(self._newest, written)
            remarks = [*self._warnings(result, line, parsed)]
        remarks += [
            Remark(
                "field_misnamed",
                path,
                f"{visible(path)} is not a field: did you mean {meant}?",
                self._excerpt(line, path),
            )
            for path, meant in misnamed.items()
        ]
        return result, remarks

    def end(self, modified: float | None) -> Iterator[Remark]:
        """What only the lines of the file together say; `modified` is when it was, in seconds since 1970."""
        if self._times >= FEW and self._whole == self._times:
            yield Remark(
                "whole_seconds",
                "timestamp",
                f"all {self._times:,} timestamps are on whole seconds: write milliseconds, or what happens within a"
                " second has no order",
            )
        if modified is None or not self._newest:
            return
        hours = round((modified - self._newest) / 900) / 4
        to_the_minute = abs(modified - self._newest - hours * 3600) <= ZONE_SLACK
        if to_the_minute and 1 <= abs(hours) <= ZONES and abs(hours) % 1 in PARTS:
            yield Remark(
                "zone",
                "timestamp",
                f"the newest timestamp is {abs(hours):g} h {'before' if hours > 0 else 'after'} the file's last write,"
                " to the minute: is local time written as UTC?",
            )

    def _faults(
        self, rejection: Rejection, line: bytes, parsed: dict[str, Any], latest: float, misnamed: dict[str, str]
    ) -> list[Remark]:
        """Every fault, as one after the other is mended, then the warnings; `misnamed` loses what explains a fault."""
        remarks = []
        result: Action | Rejection = rejection
        mended = parsed
        if not _path_of(rejection):
            for path, what in _spoilt(parsed):
                number: Reason = "not_json" if b"NaN" in line or b"Infinity" in line else "out_of_range"
                reason = number if "number" in what else "bad_encoding"
                remarks.append(Remark(reason, path, f"{path} holds {what}", self._excerpt(line, path)))
                mended = _with(mended, path.split("."))
            remarks.sort(key=lambda remark: remark.kind != rejection.reason)  # the one that is counted comes first
            if not remarks or remarks[0].kind != rejection.reason:
                remarks.insert(0, self._fault(rejection, line))
            if rejection.reason == "too_deep":
                strict = {name: mended[name] for name in mended if name in _STRICT}
                mended = {name: value for name, value in strict.items() if depth(_as_json(value)) < MAX_DEPTH}
            elif mended is parsed:
                return remarks
            result = decode(_as_json(mended), latest, self._words)
            if not isinstance(result, Rejection):
                return remarks if rejection.reason == "too_deep" else [*remarks, *self._warnings(result, line, parsed)]
        for _ in range(MAX_FAULTS):
            assert isinstance(result, Rejection)
            path = _path_of(result)
            meant = next((name for name, field in misnamed.items() if field == path), None)
            if result.reason == "missing_field" and meant is not None:
                del misnamed[meant]
                detail = f"{result.detail}; the line has {visible(meant)}: did you mean {path}?"
                remarks.append(Remark(result.reason, path, detail, self._excerpt(line, meant)))
            else:
                remarks.append(self._fault(result, line))
            if not path:
                break
            mended = _with(mended, path.split("."))
            result = decode(_as_json(mended), latest, self._words)
            if not isinstance(result, Rejection):
                return [*remarks, *self._warnings(result, line, parsed)]
        return remarks

    def _warnings(self, action: Action, line: bytes, parsed: dict[str, Any]) -> Iterator[Remark]:
        """What is odd about an action; `line` is what was written, or the record in it."""
        if isinstance(action, Mended):
            for path in action.ignored:
                detail = f"{why_unfit(line, path)}: it is left out"
                yield Remark("field_ignored", path, detail, self._excerpt(line, path))
            if action.ahead:
                detail = f"timestamp is more than {MAX_AHEAD / 60:.0f} minutes ahead of this clock: it counts as now"
                yield Remark("timestamp_ahead", "timestamp", detail, self._excerpt(line, "timestamp"))
            if action.cleaned:
                yield Remark("content_not_json", "", _cleaned(line))
        if action.status == "other":
            detail = f"status {visible(str(parsed['status']))} counts as other: `statuses` of the config has the words"
            yield Remark("status_other", "status", detail, self._excerpt(line, "status"))
        if action.tokens is not None:
            _, odd = self._prices.complete(action)
            model = action.tokens.model
            if odd & UNPRICED and model is not None:
                detail = f"the model {visible(model)} has no price, and the line no cost_usd: it counts as $0"
                yield Remark("model_unpriced", "tokens.model", detail, self._excerpt(line, "tokens.model"))
            if odd & CACHE_APART:
                detail = "prompt leaves out the cached tokens, which are added to it: log the sum as tokens.prompt"
                yield Remark("prompt_without_cache", "tokens.prompt", detail, self._excerpt(line, "tokens.prompt"))

    def _fault(self, rejection: Rejection, line: bytes) -> Remark:
        path = _path_of(rejection)
        at = _BYTE.search(rejection.detail)
        if rejection.detail.endswith(_TOO_SOON) and self._excerpts:
            excerpt = _around(line, len(line), before=WIDTH)
        else:
            excerpt = _around(line, int(at[1])) if at and self._excerpts else self._excerpt(line, path)
        return Remark(rejection.reason, path, rejection.detail, excerpt)

    def _excerpt(self, line: bytes, path: str) -> str:
        """The line from where a field begins, up to content that follows it."""
        if not self._excerpts:
            return ""
        begin = _position(line, path.split(".")) if path else 0
        content = _CONTENT.search(line, begin + ("." in path), begin + WIDTH)
        return _around(line[: content.start()] + b"..." if content else line, begin, before=0)


def _record_inside(line: bytes) -> Iterator[Remark]:
    """Of a line of another program: which of its fields holds a record of ours."""
    parsed = parse(line)
    if not isinstance(parsed, dict):
        return
    for name, value in islice(parsed.items(), MAX_NAMES):
        text = value if isinstance(value, str) else json.dumps(value) if isinstance(value, dict) else ""
        if isinstance(decode(text.strip().encode(errors="replace")), Action):
            detail = (
                f"{visible(name)} holds a record, but the line is another program's JSON and is ignored: have that"
                " program write the record alone"
            )
            yield Remark("record_inside", name, detail)
            return


def _cleaned(line: bytes) -> str:
    """What something else stands for in a line whose content is not JSON."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start} is not UTF-8: \\ufffd stands for it"
    if depth(line) > MAX_DEPTH:
        return f"content is nested more than {MAX_DEPTH} deep: a hash stands for it"
    return "NaN, Infinity, or half a surrogate pair: null or \\ufffd stands for it"


# --- faults ----------------------------------------------------------------------------------------------------------

_SOUND = {
    "timestamp": "2026-03-18T09:15:32.441Z",
    "agent_id": "a",
    "session_id": "s",
    "action": "x",
    "status": "success",
}


_STRICT = (*_SOUND, "duration_ms", "tokens")
"""Fields that are not ignored where they do not fit."""


def _as_json(parsed: Any) -> bytes:
    return json.dumps(parsed).encode()


def _spoilt(parsed: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(path, what is no JSON there) of the fields that are not ignored."""
    for name in _STRICT:
        value = parsed.get(name)
        inside = value if name == "tokens" and isinstance(value, dict) else None
        if inside is None:
            if what := spoilt_by(value):
                yield name, what
            continue
        for key, of_tokens in inside.items():
            if key != "model" and (what := spoilt_by(of_tokens)):
                yield f"{name}.{key}", what


def _with(parsed: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """The same with a sound value there, or none if it is optional."""
    name, *inside = path
    if inside and isinstance(parsed.get(name), dict):
        return parsed | {name: _with(parsed[name], inside)}
    less = {key: value for key, value in parsed.items() if key != name}
    return less | ({name: _SOUND[name]} if name in _SOUND else {})


def _path_of(rejection: Rejection) -> str:
    """The field that a rejection is about, empty if it is about the line."""
    path = rejection.detail.split(" ", 1)[0]
    fields = rejection.reason in {"missing_field", "wrong_type", "out_of_range", "bad_timestamp"}
    return path if fields and path.split(".")[0] in Record.__struct_fields__ else ""


_TOO_SOON = "the text ends too soon"
_BYTE = re.compile(r"\bbyte (\d+)")


# --- excerpts --------------------------------------------------------------------------------------------------------


_CONTENT = re.compile(rb'(?<=.)"(?:input|output)"\s*:')
_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*+)"(\s*:)?|[{}\[\]]', re.DOTALL)


def _position(line: bytes, path: list[str]) -> int:
    """Where a field begins, 0 if it is not found. A name of the same text inside of input or output is another one.

    Of a name that stands twice the last counts, as for the decoder.
    """
    names = [_spellings(name) for name in path]
    above: list[bytes | None] = []  # the keys that lead to where we are; None for an array and for the line itself
    key: bytes | None = None
    found = 0
    for token in _TOKEN.finditer(line):
        mark = token[0]
        if mark in {b"{", b"["}:
            above.append(key)
            key = None
        elif mark in {b"}", b"]"}:
            if not above:
                break
            key = above.pop()
        elif token[2] is not None:
            key = token[1]
            if len(above) == len(names) and all(map(contains, names, [*above[1:], key])):
                found = token.start()
    return found


def _spellings(name: str) -> set[bytes]:
    """A key as writers of JSON spell it, with and without escapes."""
    return {json.dumps(name, ensure_ascii=escaped)[1:-1].encode(errors="surrogateescape") for escaped in (True, False)}


def _around(line: bytes, at: int, before: int = WIDTH // 3) -> str:
    begin = max(0, at - before)
    text = line[begin : begin + WIDTH].decode("utf-8", "backslashreplace")
    return f"{'…' if begin else ''}{visible(text)}{'…' if begin + WIDTH < len(line) else ''}"

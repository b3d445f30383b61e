"""Any value of an agent -> what the log schema allows.

    {"query": "pods", "page": 2}        as it is
    float("nan"), object(), 10**400     their repr, as text
    {1: {...: ...}}                     keys are text
    a text of a megabyte                its beginning, its length and a hash: equal texts stay equal

`agent-exporter validate` accepts all names, numbers and contents from here; tests prove it. An invalid value (-5
tokens) is left out, and the line says so in `metadata.left_out`: a wrong number is worse than none, and one that
vanishes silently is worse still.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any

MAX_NAME = 256
"""Bytes of agent, session and action. These limits come from the exporter's docs/log-schema.md."""
MAX_TOKENS = 10_000_000
MAX_COST_USD = 10_000.0
MAX_DURATION_MS = 366 * 86_400_000.0
MAX_COUNT = 2**31 - 1

DEFAULT_CONTENT = 16_384
"""Characters of an input or an output by default: enough to compare two calls and to see what went wrong."""
MAX_CONTENT = 32_768
"""The largest `max_content`. A character takes at most 12 bytes as JSON, and a line has room for 1 MiB."""
MAX_TEXT = 1_000
"""Characters of an error's message, or of a heartbeat's text."""
MAX_REPR = 500
"""Characters of the repr of a value that is not JSON."""
MAX_LEVELS = 32
"""Levels of nesting in content; the exporter accepts 64, including those of the line around it."""
MAX_INT = 2**63
"""Integers that every reader of JSON can represent."""

Fields = dict[str, Any]
Note = Callable[[str, object], None]
"""Called with a field that is left out, and its value."""


def name(value: object) -> str:
    """A name of 1 to 256 bytes. A longer one ends in a hash, to stay different; an empty one becomes `unnamed`."""
    said = value if type(value) is str else _say(value)
    if said.isascii() and 0 < len(said) <= MAX_NAME:
        return said
    encoded = said.encode("utf-8", "replace")
    if len(encoded) > MAX_NAME:
        return f"{encoded[: MAX_NAME - 17].decode('utf-8', 'ignore')}-{sha256(encoded).hexdigest()[:16]}"
    return encoded.decode() or "unnamed"


def text(value: object, most: int = MAX_TEXT) -> str:
    """The `str` of a value, cut after `most` characters."""
    return _cut(_clean(value if type(value) is str else _say(value)), most)


def count(value: object, field: str, note: Note, most: int = MAX_TOKENS) -> int | None:
    """A whole number from 0 to `most`. Anything else is noted and gives None."""
    try:
        number = int(value) if isinstance(value, float) and value.is_integer() else operator.index(value)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  (a class of the agent's may do anything when it is looked at)
        note(field, value)
        return None
    if isinstance(value, bool) or not 0 <= number <= most:
        note(field, value)
        return None
    return number


def number(value: object, field: str, note: Note, least: float, most: float) -> float | None:
    """A number from `least` to `most`. Anything else is noted and gives None."""
    try:
        found = math.nan if isinstance(value, (bool, str, bytes)) else float(value)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  (the same)
        found = math.nan
    if not least <= found <= most:
        note(field, value)
        return None
    return found


def content(value: object, most: int) -> Fields | str | None:
    """An input or output: an object or text of about `most` characters; another value becomes {"value": ...}."""
    if value is None:
        return None
    tidied = _Tidy(min(max(most, 1), MAX_CONTENT)).value(value, 0)
    return tidied if isinstance(tidied, (dict, str)) else {"value": tidied}


def result(value: object, confidence: object, most: int, note: Note) -> Fields | str | None:
    """An output as given, with the confidence of the action.

    The exporter ignores fields that it cannot use. To remove a field here would make different answers equal, and a
    poll with progress a loop.
    """
    output = content(value, most)
    if confidence is not None:
        sure = number(confidence, "output.confidence", note, 0, 1)
        if sure is not None:
            output = {**(output if isinstance(output, dict) else {} if output is None else {"text": output})}
            output["confidence"] = sure
    return output


def described(value: object) -> str:
    """The text for a value that is not JSON: its repr, cut, without addresses, which differ in every run."""
    try:
        said = repr(value)
    except Exception:  # noqa: BLE001  (anything may have any repr; an exit may be a signal's, which comes anywhere)
        said = f"<{type(value).__name__}>"
    return _cut(_clean(_ADDRESS.sub("", said)), MAX_REPR)


_ADDRESS = re.compile(" at 0x[0-9a-fA-F]+")


class _Tidy:
    """One content, and the room that is left. Every value takes some of it, so even an endless structure ends."""

    def __init__(self, room: int) -> None:
        self._room = room

    def value(self, value: object, level: int) -> Any:
        kind = type(value)
        if kind is str:
            return self._text(value)  # type: ignore[arg-type]
        self._room -= 4
        if value is None or kind is bool:
            return value
        if kind is int:
            return value if -MAX_INT < value < MAX_INT else described(value)  # type: ignore[operator]
        if kind is float:
            return value if math.isfinite(value) else repr(value)  # type: ignore[arg-type]
        try:
            return self._other(value, level)
        except Exception:  # noqa: BLE001  (the same)
            return f"<{kind.__name__}>"

    def _other(self, value: object, level: int) -> Any:
        if isinstance(value, dict):
            return self._object(value, level + 1) if level < MAX_LEVELS else self._deep(value)
        if isinstance(value, (list, tuple)):
            return self._array(value, level + 1) if level < MAX_LEVELS else self._deep(value)
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, int):
            return self.value(operator.index(value), level)
        if isinstance(value, float):
            return self.value(float.__add__(value, 0.0), level)
        return self._text(described(value))

    def _object(self, value: dict[object, object], level: int) -> Fields:
        tidied = {}
        for key, item in list(value.items()):
            if self._room <= 0:
                tidied["…"] = f"{len(value)} fields"
                break
            field = self._text(key if type(key) is str else _say(key))
            tidied[field] = self.value(item, level)
        return tidied

    def _array(self, value: list[object] | tuple[object, ...], level: int) -> list[Any]:
        tidied = []
        for item in list(value):
            if self._room <= 0:
                tidied.append(f"… {len(value)} items")
                break
            tidied.append(self.value(item, level))
        return tidied

    @staticmethod
    def _deep(value: dict[object, object] | list[object] | tuple[object, ...]) -> str:
        return f"… {type(value).__name__} of {len(value)}"

    def _text(self, value: str) -> str:
        length = len(value)
        cut = _clean(value) if length <= self._room else _cut(_clean(value), max(self._room, 0))
        self._room -= length + 4
        return cut


def _clean(value: str) -> str:
    """The text without half surrogate pairs, which are not valid in UTF-8."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _cut(value: str, most: int) -> str:
    if len(value) <= most:
        return value
    return f"{value[:most]}… ({len(value)} characters, {sha256(value.encode()).hexdigest()[:12]})"


def _say(value: object) -> str:
    try:
        return str.__str__(value) if isinstance(value, str) else "" if value is None else str.__str__(str(value))
    except Exception:  # noqa: BLE001  (as for repr)
        return f"<{type(value).__name__}>"

"""Paths: where a value stands in a record.

usage.input_tokens          a key in a key
attributes."gen_ai.system"  a key with a dot in it, in quotes
content[0].text             the first element of a list; [-1] is the last
@.name                      of the element at hand, in a rule with `each`; @ is the element itself
$model                      what was remembered of the file; $start.at what an open call has kept
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

Getter: TypeAlias = Callable[[Any, Any, dict[str, Any]], Any]
"""(record, element, variables) -> a value, or None. Never raises."""

_STEP = re.compile(r'"((?:[^"\\]|\\.)+)"|\[(-?\d{1,6})\]|([^.\[\]"\s{}$@][^.\[\]"\s{}]*)')
_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)")


class Path(NamedTuple):
    """A path that was read."""

    root: str
    """`record`, `element`, or the name of a variable with its `$`."""
    keys: tuple[str | int, ...]


def read(text: str) -> Path:
    """The steps of a path. Raises ValueError."""
    root, rest = "record", text
    if match := _VARIABLE.match(text):
        root, rest = match[0], text[match.end() :]
    elif text.startswith("@"):
        root, rest = "element", text[1:]
    keys: list[str | int] = []
    at = 0
    while at < len(rest):
        begins = not keys and root == "record"
        dotted = rest[at] == "."
        match = _STEP.match(rest, at + dotted)
        if match is None or dotted != (match[2] is None and not begins):  # a dot before each name but the first
            raise ValueError(f'must be a path such as a.b."c.d"[0], $name or @.name, not {text[:60]!a}')
        keys.append(int(match[2]) if match[2] else re.sub(r"\\(.)", r"\1", match[1]) if match[1] else match[3])
        at = match.end()
    if not keys and root == "record":
        raise ValueError("must be a path, not an empty text")
    return Path(root, tuple(keys))


def getter(path: Path) -> Getter:
    """The path as a function. Short ones are written out: they are most of the time that a mapping takes."""
    root, keys = path
    walk = _walk(keys)
    if root == "record":
        if len(keys) == 1 and isinstance(keys[0], str):
            only = keys[0]
            return lambda r, _e, _v: r.get(only)
        return lambda r, _e, _v: walk(r)
    if root == "element":
        return (lambda _r, e, _v: walk(e)) if keys else (lambda _r, e, _v: e)
    name = root[1:]
    return (lambda _r, _e, v: walk(v.get(name))) if keys else (lambda _r, _e, v: v.get(name))


def _walk(keys: tuple[str | int, ...]) -> Callable[[Any], Any]:
    names = [key for key in keys if isinstance(key, str)]
    if len(names) == len(keys) == 1:
        [only] = names
        return lambda o: o.get(only) if o.__class__ is dict else None
    if len(names) == len(keys) == 2:
        first, second = names

        def two(o: Any) -> Any:
            if o.__class__ is not dict:
                return None
            o = o.get(first)
            return o.get(second) if o.__class__ is dict else None

        return two

    def steps(o: Any) -> Any:
        for key in keys:
            if o.__class__ is dict:
                o = o.get(key)
            elif o.__class__ is list and key.__class__ is int:
                o = o[key] if -len(o) <= key < len(o) else None
            else:
                return None
        return o

    return steps

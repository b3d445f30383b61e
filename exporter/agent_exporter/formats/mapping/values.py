"""Values: what a mapping makes of a record. Each form is compiled to one function that never raises.

a.b                                  a path
[a, b, {const: x}]                   the first that is there; an empty text is not
{const: llm_call}
{text: "codex/{$nick}"}              nothing, if a part is missing
{sum: [a, b]}                        of those that are there
{minus: [end, start]}                milliseconds between two times
{from: VALUE, json: true, regex: "exited with (\\d+)", unit: s, table: {"0": success}, else: error}
{jmespath: "choices[?index==`0`] | [0].text"}
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from agent_exporter.formats.mapping.convert import UNITS, moment, number, text
from agent_exporter.formats.mapping.keys import FORMS, FROM

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_exporter.formats.mapping.language import Compiler
    from agent_exporter.formats.mapping.paths import Getter

_decode = msgspec.json.Decoder().decode
_BRACES = re.compile(r"\{([^{}]*)\}")
_SCALARS = (str, int, float, bool, type(None))


def nothing(_r: Any, _e: Any, _v: Any) -> None:
    """What stands in for a value that has a fault."""


def value(spec: Any, at: str, by: Compiler) -> Getter:
    """Compile one. Its faults go to the compiler, each with its path `at`."""
    if isinstance(spec, str):
        return by.path(spec, at)
    if isinstance(spec, list):
        return _first(spec, at, by)
    if isinstance(spec, dict):
        form = next((key for key in FORMS if key in spec), None)
        allowed = FROM if form == "from" else {form}
        for key in spec:
            if form is not None and key not in allowed:
                by.unknown(key, f"{at}.{key}", allowed)
        if form is not None:
            return _OF[form](spec, at, by)
    by.fault(at, f"must be a path, a list of values, or a form ({', '.join(FORMS)}), not {ascii(spec)[:60]}")
    return nothing


def _first(spec: list[Any], at: str, by: Compiler) -> Getter:
    options = [value(each, f"{at}[{number_}]", by) for number_, each in enumerate(spec)]
    if not options:
        by.fault(at, "must have a value in it")
    if len(options) == 2:
        one, other = options

        def either(r: Any, e: Any, v: dict[str, Any]) -> Any:
            x = one(r, e, v)
            return other(r, e, v) if x is None or x == "" else x

        return either

    def first(r: Any, e: Any, v: dict[str, Any]) -> Any:
        for option in options:
            x = option(r, e, v)
            if x is not None and x != "":
                return x
        return None

    return first


def _const(spec: dict[str, Any], at: str, by: Compiler) -> Getter:
    constant = spec["const"]
    if not isinstance(constant, _SCALARS):
        by.fault(f"{at}.const", "must be a text, a number or a bool")
    return lambda _r, _e, _v: constant


def _text(spec: dict[str, Any], at: str, by: Compiler) -> Getter:
    template = by.string(spec["text"], f"{at}.text")
    parts: list[str | Getter] = []
    for number_, part in enumerate(_BRACES.split(template)):
        if number_ % 2 == 0 and ("{" in part or "}" in part):
            by.fault(f"{at}.text", "has a brace without its other")
        parts.append(by.path(part, f"{at}.text") if number_ % 2 else part)

    def filled(r: Any, e: Any, v: dict[str, Any]) -> str | None:
        out = []
        for part in parts:
            x = part if part.__class__ is str else text(part(r, e, v))  # type: ignore[operator]
            if x is None:
                return None
            out.append(x)
        return "".join(out)

    return filled


def _pair_of(spec: Any, at: str, by: Compiler) -> list[Getter]:
    if not isinstance(spec, list) or len(spec) != 2:
        by.fault(at, "must be a list of two values: the later time, then the earlier")
        return [nothing, nothing]
    return [value(each, f"{at}[{number_}]", by) for number_, each in enumerate(spec)]


def _sum(spec: dict[str, Any], at: str, by: Compiler) -> Getter:
    parts = spec["sum"]
    if not isinstance(parts, list) or not parts:
        by.fault(f"{at}.sum", "must be a list of values")
        return nothing
    terms = [value(each, f"{at}.sum[{number_}]", by) for number_, each in enumerate(parts)]

    def added(r: Any, e: Any, v: dict[str, Any]) -> int | float | None:
        total = None
        for term in terms:
            n = number(term(r, e, v))
            if n is not None:
                total = n if total is None else total + n
        return total

    return added


def _minus(spec: dict[str, Any], at: str, by: Compiler) -> Getter:
    later, earlier = _pair_of(spec["minus"], f"{at}.minus", by)
    zone = by.zone

    def between(r: Any, e: Any, v: dict[str, Any]) -> float | None:
        end, start = moment(later(r, e, v), zone), moment(earlier(r, e, v), zone)
        return None if end is None or start is None else max(0.0, round((end - start) * 1000, 3))

    return between


def _from(spec: dict[str, Any], at: str, by: Compiler) -> Getter:
    """Its steps, in this order, whatever the order of the keys: json, regex, unit, table."""
    f = value(spec["from"], f"{at}.from", by)
    if len(spec) == 1:
        by.fault(at, f"from needs at least one of {', '.join(key for key in FROM if key != 'from')}")
    if "json" in spec:
        f = _json(f, spec["json"], f"{at}.json", by)
    if "regex" in spec:
        f = _regex(f, spec["regex"], f"{at}.regex", by)
    if "unit" in spec:
        f = _unit(f, spec["unit"], f"{at}.unit", by)
    if "table" in spec:
        f = _table(f, spec, at, by)
    elif "else" in spec:
        by.fault(f"{at}.else", "goes with table")
    return f


def _json(f: Getter, where: Any, at: str, by: Compiler) -> Getter:
    if where is not True and not isinstance(where, str):
        by.fault(at, "must be true, or a path in what the text holds")
    inner = by.path(where, at) if isinstance(where, str) else None

    def nested(r: Any, e: Any, v: dict[str, Any]) -> Any:
        x = f(r, e, v)
        if x.__class__ is not str:
            return None
        try:
            found = _decode(x)
        except (ValueError, RecursionError):
            return None
        if inner is None:
            return found
        return inner(found, e, v) if found.__class__ is dict else None

    return nested


def _regex(f: Getter, pattern: Any, at: str, by: Compiler) -> Getter:
    found = by.regex(pattern, at)
    if found is None:
        return nothing
    search, group = found.search, 1 if found.groups else 0

    def matched(r: Any, e: Any, v: dict[str, Any]) -> str | None:
        x = f(r, e, v)
        if x.__class__ is not str:
            x = text(x)
            if x is None:
                return None
        match = _safely(search, x)
        return match[group] if match else None

    return matched


def _safely(search: Callable[[str], Any], x: str) -> Any:
    """A text with half a surrogate pair cannot be searched: RE2 works on UTF-8."""
    try:
        return search(x)
    except UnicodeEncodeError:
        return search(x.encode(errors="replace").decode())


def _unit(f: Getter, unit: Any, at: str, by: Compiler) -> Getter:
    if unit not in UNITS:
        by.fault(at, f"must be {', '.join(UNITS)}, not {ascii(unit)[:60]}")
        return nothing
    scale = UNITS[unit]

    def milliseconds(r: Any, e: Any, v: dict[str, Any]) -> float | None:
        n = number(f(r, e, v))
        return None if n is None else n * scale

    return milliseconds


def _table(f: Getter, spec: dict[str, Any], at: str, by: Compiler) -> Getter:
    rows = spec["table"]
    otherwise = spec.get("else")
    if not isinstance(rows, dict) or not all(isinstance(each, _SCALARS) for each in (*rows.values(), otherwise)):
        by.fault(f"{at}.table", "must be a mapping from what is found to a text, a number or a bool; so must else")
        return nothing
    table = {"null" if key is None else text(key): result for key, result in rows.items()}

    def looked_up(r: Any, e: Any, v: dict[str, Any]) -> Any:
        x = f(r, e, v)
        return table.get("null" if x is None else text(x), otherwise)

    return looked_up


def _jmespath(spec: dict[str, Any], at: str, by: Compiler) -> Getter:
    import jmespath  # noqa: PLC0415  (few mappings have one)

    try:
        expression = jmespath.compile(by.string(spec["jmespath"], f"{at}.jmespath"))
    except (jmespath.exceptions.JMESPathError, ValueError):
        by.fault(f"{at}.jmespath", "must be a JMESPath expression such as a.b[0].c")
        return nothing

    def searched(r: Any, _e: Any, _v: Any) -> Any:
        try:
            return expression.search(r)
        except (jmespath.exceptions.JMESPathError, ValueError, TypeError, RecursionError):
            return None

    return searched


_OF: dict[str, Callable[[dict[str, Any], str, Compiler], Getter]] = {
    "const": _const,
    "text": _text,
    "sum": _sum,
    "minus": _minus,
    "from": _from,
    "jmespath": _jmespath,
}

"""Conditions: for which records a rule is. All of them must hold.

when:
  type: assistant                 is this
  payload.type: [a, b]            is one of these
  message.usage: present          is there; absent: is not
  $turn: {before: $born}          a time before another, in whole seconds
  output: {like: "exit code [1-9]"}
  is_error: {not: true}           {is: present} is the word itself
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent_exporter.formats.mapping.convert import moment
from agent_exporter.formats.mapping.keys import TESTS
from agent_exporter.formats.mapping.values import nothing

if TYPE_CHECKING:
    from agent_exporter.formats.mapping.language import Compiler
    from agent_exporter.formats.mapping.paths import Getter

_SCALARS = (str, int, float, bool, type(None))


def conditions(spec: Any, at: str, by: Compiler) -> Getter | None:
    """One function that says whether all hold; None if there are none."""
    if spec is None:
        return None
    if not isinstance(spec, dict):
        by.fault(at, "must be a mapping from paths to what stands there")
        return None
    tests = [
        _test(by.path(path, by.join(at, path)), expected, by.join(at, path), by) for path, expected in spec.items()
    ]
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        one, other = tests
        return lambda r, e, v: one(r, e, v) and other(r, e, v)

    def hold(r: Any, e: Any, v: dict[str, Any]) -> bool:
        for test in tests:  # noqa: SIM110  (a generator would cost as much as three tests)
            if not test(r, e, v):
                return False
        return True

    return hold


def _test(f: Getter, expected: Any, at: str, by: Compiler) -> Getter:
    if expected == "present":
        return lambda r, e, v: f(r, e, v) is not None
    if expected == "absent":
        return lambda r, e, v: f(r, e, v) is None
    if isinstance(expected, list):
        return _one_of(f, expected, at, by)
    if isinstance(expected, dict):
        [kind, *more] = expected or [None]
        if more or kind not in TESTS:
            by.fault(at, f"must be one of {', '.join(f'{{{test}: ...}}' for test in TESTS)}")
            return nothing
        return _of_kind(f, kind, expected[kind], f"{at}.{kind}", by)
    return _equal(f, expected)


def _of_kind(f: Getter, kind: str, expected: Any, at: str, by: Compiler) -> Getter:
    if kind == "like":
        return _like(f, expected, at, by)
    if kind == "before":
        other, zone = by.path(expected, at), by.zone

        def before(r: Any, e: Any, v: dict[str, Any]) -> bool:
            x, y = moment(f(r, e, v), zone), moment(other(r, e, v), zone)
            return x is not None and y is not None and x // 1 < y // 1

        return before
    if not isinstance(expected, (*_SCALARS, list)):
        by.fault(at, "must be a text, a number, a bool or a list of these")
        return nothing
    same = _one_of(f, expected, at, by) if isinstance(expected, list) else _equal(f, expected)
    return same if kind == "is" else lambda r, e, v: not same(r, e, v)


def _equal(f: Getter, expected: Any) -> Getter:
    if isinstance(expected, bool):  # 1 is not true
        return lambda r, e, v: f(r, e, v) is expected
    if expected is None:
        return lambda r, e, v: f(r, e, v) is None
    return lambda r, e, v: f(r, e, v) == expected


def _one_of(f: Getter, expected: list[Any], at: str, by: Compiler) -> Getter:
    if not expected or not all(isinstance(each, _SCALARS) for each in expected):
        by.fault(at, "must be a list of texts, numbers or bools")
        return nothing
    # Not a set: what is found may be a list or an object. A tuple is compared one by one.
    options = tuple(expected)
    return lambda r, e, v: f(r, e, v) in options


def _like(f: Getter, pattern: Any, at: str, by: Compiler) -> Getter:
    found = by.regex(pattern, at)
    if found is None:
        return nothing

    def like(r: Any, e: Any, v: dict[str, Any]) -> bool:
        x = f(r, e, v)
        if x.__class__ is not str:
            return False
        try:
            return found.search(x) is not None
        except UnicodeEncodeError:
            return found.search(x.encode(errors="replace").decode()) is not None

    return like

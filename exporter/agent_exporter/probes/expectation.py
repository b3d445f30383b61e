"""What an answer should be, and why it is not. A new kind is a function, a line in EXPECTATIONS and a key in
`Expect`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from agent_exporter.probes.numbers import numbers_in
from agent_exporter.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_exporter.config import Expect

MAX_ANSWER = 16_384
"""Characters of an answer that are judged; the rest is ignored."""
SHOWN = 80
"""Characters of an answer that a sentence quotes."""


def judge(expect: Expect, answer: Any) -> str | None:
    """A sentence about the first difference from what is expected, or None. `answer` is text or a JSON value."""
    for key, why_not in EXPECTATIONS.items():
        if getattr(expect, key) is not None and (why := why_not(expect, answer)) is not None:
            return why
    return None


def text_of(answer: Any) -> str:
    """A JSON value as text: text as it is, all else as JSON."""
    return (answer if isinstance(answer, str) else msgspec.json.encode(answer).decode())[:MAX_ANSWER]


def quoted(text: str) -> str:
    """An answer, or its beginning, on one line and without control characters."""
    line = printable(" ".join(text[: 4 * SHOWN].split()))
    return f"'{line if len(line) <= SHOWN else f'{line[:SHOWN]}...'}'"


def _exact(expect: Expect, answer: Any) -> str | None:
    expected = _plain(expect.exact)
    same = answer.strip() == expected.strip() if isinstance(answer, str) and isinstance(expected, str) else (
        _has(expected, answer) and _has(answer, expected)
    )  # fmt: skip
    return None if same else f"is not exactly {quoted(text_of(expected))}: {quoted(text_of(answer))}"


def _contains(expect: Expect, answer: Any) -> str | None:
    assert expect.contains is not None
    text = text_of(answer)
    return None if expect.contains in text else f"does not contain {quoted(expect.contains)}: {quoted(text)}"


def _regex(expect: Expect, answer: Any) -> str | None:
    assert expect.regex is not None
    text = text_of(answer)
    return None if expect.regex.finds(text) else f"does not match {quoted(expect.regex)}: {quoted(text)}"


def _json(expect: Expect, answer: Any) -> str | None:
    if isinstance(answer, str):  # JSON from a model is text in the agent's JSON
        try:
            answer = msgspec.json.decode(answer.encode())
        except (msgspec.DecodeError, RecursionError):
            return f"is not JSON: {quoted(answer)}"
    expected = _plain(expect.json)
    return None if _has(answer, expected) else f"does not hold {quoted(text_of(expected))}: {quoted(text_of(answer))}"


def _number(expect: Expect, answer: Any) -> str | None:
    assert expect.number is not None
    expected, tolerance = Decimal(repr(expect.number)), Decimal(repr(expect.tolerance))
    text = text_of(answer)
    if any(expected - tolerance <= number <= expected + tolerance for number in numbers_in(text)):
        return None
    within = f" within {expect.tolerance:g}" if expect.tolerance else ""
    return f"does not contain the number {expect.number:.15g}{within}: {quoted(text)}"


def _similar(expect: Expect, answer: Any) -> str | None:
    from rapidfuzz.fuzz import token_sort_ratio  # noqa: PLC0415  (few suites use it)
    from rapidfuzz.utils import default_process  # noqa: PLC0415

    assert expect.similar is not None
    text = text_of(answer)
    # Words in any order, whatever their case and punctuation.
    likeness = token_sort_ratio(expect.similar, text, processor=default_process) / 100
    if likeness >= expect.similarity:
        return None
    return f"is {likeness:.2f} like {quoted(expect.similar)}, not {expect.similarity:g}: {quoted(text)}"


EXPECTATIONS: dict[str, Callable[[Expect, Any], str | None]] = {
    "exact": _exact,
    "contains": _contains,
    "regex": _regex,
    "json": _json,
    "number": _number,
    "similar": _similar,
}


def _plain(value: Any) -> Any:
    """A value that YAML reads as a date, as text for JSON."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _has(value: Any, expected: Any) -> bool:
    """Whether all of `expected` is in a JSON value: keys of mappings; lists item by item. True is not 1."""
    if isinstance(expected, dict):
        return isinstance(value, dict) and all(
            key in value and _has(value[key], inner) for key, inner in expected.items()
        )
    if isinstance(expected, list):
        return isinstance(value, list) and len(value) == len(expected) and all(map(_has, value, expected))
    return isinstance(value, bool) == isinstance(expected, bool) and bool(value == expected)

"""What an answer has to be, for health checks and benchmarks alike."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_exporter.config import Expect, parse
from agent_exporter.probes.expectation import judge


@pytest.mark.parametrize(
    ("expect", "answer", "why"),
    [
        ({"exact": "Paris"}, " Paris\n", None),
        ({"exact": "Paris"}, "Paris.", "is not exactly 'Paris': 'Paris.'"),
        ({"exact": True}, True, None),
        ({"exact": True}, 1, "is not exactly 'true': '1'"),
        ({"exact": {"a": [1]}}, {"a": [1.0]}, None),
        ({"exact": {"a": 1}}, {"a": 1, "b": 2}, """is not exactly '{"a":1}': '{"a":1,"b":2}'"""),
        ({"contains": "Par"}, "In Paris.", None),
        ({"contains": "par"}, "In Paris.", "does not contain 'par': 'In Paris.'"),
        ({"contains": '"a"'}, {"a": 1}, None),
        ({"regex": "^In [A-Z]"}, "In Paris.", None),
        ({"regex": "(a+)+$"}, "a" * 16_000 + "b", f"does not match '(a+)+$': '{'a' * 80}...'"),
        ({"json": {"a": {"b": 1}}}, {"a": {"b": 1, "c": 2}, "d": 3}, None),
        ({"json": {"a": {"b": 1}}}, '{"a": {"b": 1}}', None),
        ({"json": {"a": [1, {"b": 2}]}}, {"a": [1, {"b": 2, "c": 3}]}, None),
        ({"json": {"a": [1]}}, {"a": [1, 2]}, """does not hold '{"a":[1]}': '{"a":[1,2]}'"""),
        ({"json": {"a": 1}}, "a: 1", "is not JSON: 'a: 1'"),
        ({"json": {"a": 1}}, [1], """does not hold '{"a":1}': '[1]'"""),
        ({"number": 512}, "five hundred and twelve", None),
        ({"number": 512}, 512, None),
        ({"number": 512}, "5120", "does not contain the number 512: '5120'"),
        ({"number": 3.14, "tolerance": 0.01}, "About 3.145.", None),
        ({"number": 3.14, "tolerance": 0.01}, "About 3.2.", "does not contain the number 3.14 within 0.01: 'About 3.2.'"),
        ({"number": 0.1, "tolerance": 0.2}, "0.3", None),
        ({"similar": "The capital of France is Paris."}, "paris is the capital of france", None),
        ({"similar": "The capital is Paris.", "similarity": 0.9}, "I do not know.", "is 0.30 like 'The capital is Paris.', not 0.9: 'I do not know.'"),
        ({"contains": "Paris", "regex": "^P"}, "In Paris.", "does not match '^P': 'In Paris.'"),
        ({"contains": "x"}, "a\x1b[31m\u202eb\n" * 99, f"does not contain 'x': '{('a[31mb ' * 20)[:80]}...'"),
    ],
)  # fmt: skip
def test_an_answer_is_as_expected_or_a_sentence_says_why_not(expect, answer, why):
    """Text, or the JSON value that the answer's path names."""
    assert (
        judge(
            parse(f"health_checks: {{x: {{path: /, expect: {json.dumps(expect)}}}}}").health_checks["x"].expect, answer
        )
        == why
    )


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(values.filter(lambda value: value is not None), values)
def test_every_value_is_exactly_itself_and_holds_itself(value, other):
    """And no expectation makes anything raise."""
    assert judge(Expect(exact=value), value) is None
    if not isinstance(value, str):
        assert judge(Expect(json=value), value) is None
    for expect in (
        Expect(exact=value),
        Expect(json=value),
        Expect(number=1),
        Expect(similar="x"),
        Expect(contains="x"),
    ):
        assert isinstance(judge(expect, other), str | None)

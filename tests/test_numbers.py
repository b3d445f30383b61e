"""The numbers in an answer: every usual form of one passes, and no other number does."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent_exporter.probes.numbers import numbers_in

ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["-", "-", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def words(number: int, *, joint: str = " ", hyphen: str = "-") -> str:
    """A number below a million in English; independent of what reads it."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (hyphen + ONES[number % 10] if number % 10 else "")
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            link = " " if size == 1000 and rest >= 100 else joint
            return f"{words(number // size, joint=joint, hyphen=hyphen)} {name}" + (
                f"{link}{words(rest, joint=joint, hyphen=hyphen)}" if rest else ""
            )
    raise AssertionError


FORMS = [
    "{n}",
    "{n}.",
    "{n}.0",
    "{n:,}",
    "{n:,}.00",
    "{n:,}",
    "{n:_}",
    "{w}",
    "{w}.",
    "{and_w}",
    "{hyphened}",
    "{upper}",
    "0{n}",
    "{wide}",
]
"""How the number itself is written."""
FRAMES = [
    "%s", "**%s**", "*%s*", "_%s_", "`%s`", '"%s"', "(%s)", "$%s$", "\\boxed{%s}", "The answer is %s", "= %s", "=%s",
    "127 + 385 = %s", "%s!", "%s, of course", "- %s", "Answer:%s", "<b>%s</b>", "%s\n", "It is %s; I checked.", "# %s",
    "**%s** (exactly)", "%s\n- done", "That's...%s", "~%s", "1. %s",
]  # fmt: skip
"""What a model puts around it."""


def written(form: str, number: int) -> str:
    """A number in one of FORMS."""
    return form.format(
        n=number,
        w=words(number),
        and_w=words(number, joint=" and "),
        hyphened=words(number).replace(" ", "-"),
        upper=words(number).upper(),
        wide="".join(chr(0xFF10 + int(digit)) for digit in str(number)),
    )


sums = st.integers(200, 1998)
"""What the canary asks for: the sum of two numbers of three digits."""


@given(sums, st.sampled_from(FORMS), st.sampled_from(FRAMES))
@example(512, "{w}", "%s").via("the issue")
@example(512, "{n}", "**%s**").via("the issue")
@example(512, "{n}.", "%s").via("the issue")
def test_every_usual_form_of_a_number_is_that_number(number, form, frame):
    """Digits and words, in markdown and in sentences."""
    assert number in numbers_in(frame % written(form, number))


@given(sums, st.integers(0, 999_999), st.sampled_from(FORMS), st.sampled_from([f for f in FRAMES if "127" not in f]))
@example(512, 5120, "{n}", "%s").via("the issue")
@example(200, 1200, "{w}", "%s")
@example(1000, 1234, "{w}", "%s")
def test_no_other_number_passes_in_any_of_these_forms(wanted, other, form, frame):
    """Not even one whose digits or words hold all of it."""
    if wanted != other:
        assert wanted not in numbers_in(frame % written(form, other))


@given(sums, st.from_regex(r"[0-9]{1,3}", fullmatch=True), st.booleans())
def test_more_digits_make_another_number(number, more, after):
    """5120 and 1512."""
    text = f"{number}{more}" if after else f"{more}{number}"
    assert (number in numbers_in(text)) == (int(text) == number)


@pytest.mark.parametrize(
    "text",
    [
        "5120", "1512", "512.5", "-512", "\u2212512", "**-512**", "(-512)", "= -512", "minus 512", "negative 512", "512k", "512th",
        "512 thousand", "512 million", "512 %", "512%", "512 percent", "512/2", "1/512", "512 / 2", "51\u00b2", "512^2", "2^512",
        "512*2", "512 * 2", "512**2", "512 + 1", "v512", "x_512", "0.512", ".512", "1.512", "512.5.1", "51,2", "5,12",
        "512,000", "1,512", "512_000", "512'000", "2 512", "5 1 2", "51 2", "12:512", "512e3", "five hundred", "twelve", "five twelve",
        "minus five hundred twelve", "five hundred twelve thousand", "five hundred twelve point five", "512 point 5",
        "one thousand, five hundred twelve", "two thousand five hundred twelve", "512 hundred", "fivehundredtwelve", "", "?",
    ],
)  # fmt: skip
def test_these_are_not_512(text):
    """What a careless search for "512" would let pass, and a few more."""
    assert 512 not in numbers_in(text)


def test_a_long_number_in_words_may_have_commas():
    """As many write it."""
    assert numbers_in("One thousand, two hundred and thirty-four.") == [1234]


@given(st.text(max_size=60) | st.text("0123456789.,'-+*/^eE _%$\u00a0\u0661\u00b2andhurez", max_size=60))
def test_no_text_makes_it_raise(text):
    """And all that it finds is finite."""
    assert all(isinstance(number, Decimal) and number.is_finite() for number in numbers_in(text))

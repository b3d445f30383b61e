"""The numbers in a text, in digits or in English words, as models write them.

    512   512.   **512**   "512"   127+385=512   1,234   1 234   5.12e2   five hundred (and) twelve     are 512, 1234
    5120   1512   512.5   -512   512k   512 thousand   512%   512/2   51²   v512                          are not 512

Digits with extra characters (`512k`) are another number, or none. If a text can be read in two ways, neither counts: to
ask again a minute later is better than to pass a wrong answer.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from functools import lru_cache

from text_to_num import alpha2digit

MAX_TEXT = 4_000
"""Characters searched: an answer to a sum is short."""
NEAR = 32
"""Characters before and after a number that are checked."""
_SPACES = " \u00a0\u2007\u2009\u202f"
_NUMBER = re.compile(
    rf"(?:\d{{1,3}}(?:,\d{{3}})+|\d{{1,3}}(?:[{_SPACES}]\d{{3}})+|\d{{1,3}}(?:['\u2019_]\d{{3}})+|\d+)"
    r"(?:\.\d+)?(?:[eE][+-]?\d{1,4})?"
)
_SEPARATOR = re.compile(rf"[,'\u2019_{_SPACES}]")
_ATTACHED_BEFORE = re.compile(
    r"[^\W_]$|[^\W_]_$"  # v512, x_512
    r"|(?<!\.)[.,/^]$|\d[:']$"  # .512, 1/512, 12:512
    r"|(?:^|[^\w)\]])[-\u2212\u2013]$|\b(?:minus|negative)\s+$",  # -512, and neither a list's "- 512" nor "answer-512"
    re.IGNORECASE,
)
_ATTACHED_AFTER = re.compile(
    r"[^\W_]|_[^\W_]|[.,:']\d"  # 512k, 512_a, 512.5
    # 512 %, 512/2, 512**2, 512 + 1
    r"|[^\S\n]*(?:[%\u2030\u00b0]|[/^\u00d7\u00f7]\s*[\d(]|\*{1,2}\d|(?<=\s)\*\s\d|[-+\u2212]\s*\d)"
    r"|[\s\u00a0-]*(?:hundred|thousand|million|billion|trillion|dozen|percent|point|over|minus|plus|times)s?\b",
    re.IGNORECASE,
)
_LONG = re.compile(r"\b(thousand|million|billion),\s+", re.IGNORECASE)


def numbers_in(text: str) -> list[Decimal]:
    """Every number of a text that stands alone, in order."""
    text = _in_digits(text[:MAX_TEXT])
    found = []
    for match in _NUMBER.finditer(text):
        start, end = match.span()
        if _ATTACHED_BEFORE.search(text[max(0, start - NEAR) : start]) or _ATTACHED_AFTER.match(text[end : end + NEAR]):
            continue
        found.append(Decimal(_SEPARATOR.sub("", match[0])))
    return found


def _in_digits(text: str) -> str:
    """The text with the digits of any script as ASCII, and words as digits."""
    text = text.replace("{,}", ",")  # as LaTeX writes a thousand
    if not text.isascii():
        text = "".join(map(_digit, text))
    return str(alpha2digit(_LONG.sub(r"\1 ", text), "en", 0))  # from 0 on: also "one" that stands alone


@lru_cache(1024)
def _digit(character: str) -> str:
    # Not raised or circled digits: 51² is not 512.
    value = unicodedata.decimal(character, None)
    return character if value is None else str(value)

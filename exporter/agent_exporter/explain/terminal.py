"""Text for a terminal: harmless, cut to columns, in colour if requested.

Text from logs is hostile until it has gone through `safe`, which shows or removes escape sequences, controls that
change the direction of writing, newlines, and marks piled up over one letter.
"""

from __future__ import annotations

import re
import unicodedata

from agent_exporter.text import is_hidden

REPLACED = "\N{REPLACEMENT CHARACTER}"
_PILED = 2
"""Combining marks kept over one letter; Vietnamese and Hebrew use two."""
_CODES = {"bad": "31", "warn": "33", "good": "32", "quiet": "2", "strong": "1"}
_SPACE = re.compile(r"\s+")


def safe(text: str) -> str:
    """One line, without anything that controls a terminal."""
    text = _SPACE.sub(" ", text)
    if text.isascii() and text.isprintable():
        return text
    kept = []
    piled = 0
    for character in text:
        piled = piled + 1 if unicodedata.combining(character) or _is_mark(character) else 0
        if piled <= _PILED:
            kept.append(REPLACED if is_hidden(character) else character)
    return "".join(kept)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character) in {"Mn", "Me"}


def width(text: str) -> int:
    """Columns that a safe text takes."""
    if text.isascii():
        return len(text)
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if _is_mark(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """A safe text, shortened in the middle if it is too long: names differ at their ends."""
    if width(text) <= columns:
        return text
    half = max(0, columns - 1) // 2
    return f"{_head(text, columns - 1 - half)}…{_head(text[::-1], half)[::-1]}"


def cut_end(text: str, columns: int) -> str:
    """A safe text, shortened at the end."""
    return text if width(text) <= columns else f"{_head(text, columns - 1)}…"


def _head(text: str, columns: int) -> str:
    taken = 0
    for index, character in enumerate(text):
        taken += _width(character)
        if taken > columns:
            return text[:index]
    return text


def pad(text: str, columns: int) -> str:
    """A safe text in so many columns, cut or filled up."""
    text = cut(text, columns)
    return text + " " * (columns - width(text))


def wrap(text: str, columns: int) -> list[str]:
    """A safe text in lines of at most so many columns, broken at spaces if there are any."""
    lines = [""]
    for word in text.split(" "):
        while width(word) > columns:
            if lines[-1]:
                lines.append("")
            head = _head(word, columns)
            lines[-1] = head
            word = word[len(head) :]  # noqa: PLW2901  (the rest of it)
            lines.append("")
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if width(joined) > columns:
            lines.append(word)
        else:
            lines[-1] = joined
    return [line for line in lines if line]


class Paint:
    """Colours, or none."""

    def __init__(self, *, colour: bool) -> None:
        self._colour = colour

    def __call__(self, text: str, style: str) -> str:
        """The text in a style: one of the levels of `conditions`, or strong."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self._colour and text else text

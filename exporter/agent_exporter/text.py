"""Text that others wrote, before it is shown: it may be made to steer the terminal or the page that it comes to."""

from __future__ import annotations

import re

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


_CREDENTIALS = re.compile(r"//[^/?#\s]*@")


def without_credentials(url: str) -> str:
    """An address as it may be logged: a user and password before the host are left out."""
    return _CREDENTIALS.sub("//***@", url)


def printable(text: str) -> str:
    """A text without the characters that steer terminals and pages: controls, and those that turn the direction."""
    return _UNSAFE.sub("", text)


def plain(text: str) -> str:
    """A text as it is, unless it would play tricks with a terminal."""
    return text if text.isprintable() else ascii(text)


def visible(text: str) -> str:
    """A text with every character that would not be seen, or steers a terminal, written as Python escapes it."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)

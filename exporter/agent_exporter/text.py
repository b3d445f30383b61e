"""Text that others wrote, before it is shown: it may be made to steer the terminal or the page that it comes to."""

from __future__ import annotations

import re
from unicodedata import category

_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that have a category as letters and marks have, and are not seen: fillers, and selectors of variants,
which carry hidden text."""
_CREDENTIALS = re.compile(r"//[^/?#\s]*@")


def without_credentials(url: str) -> str:
    """An address as it may be logged: a user and password before the host are left out."""
    return _CREDENTIALS.sub("//***@", url)


def printable(text: str) -> str:
    """A text without characters that are not seen: controls, those that turn the direction, and what hides text.

    A space of any width is a space. "\u00ad" and the tags of U+E0000 are such characters, too.
    """
    if text.isascii() and text.isprintable():
        return text
    seen = (char if char.isprintable() else " " for char in text if char.isprintable() or category(char) == "Zs")
    return _INVISIBLE.sub("", "".join(seen))


def plain(text: str) -> str:
    """A text as it is, unless it would play tricks with a terminal."""
    return text if text.isprintable() and not _INVISIBLE.search(text) else ascii(text)


def visible(text: str) -> str:
    """A text with every character that would not be seen, or steers a terminal, written as Python escapes it."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(ascii(char)[1:-1] if is_hidden(char) else char for char in text)


def escaped(document: bytes) -> bytes:
    """JSON with every character that would not be seen, or steers a terminal, as JSON escapes it: the same document."""
    if document.isascii() and b"\x7f" not in document:
        return document
    return "".join(_json_escape(char) if is_hidden(char) else char for char in document.decode()).encode()


def _json_escape(char: str) -> str:
    return "".join(f"\\u{unit:04x}" for unit in memoryview(char.encode("utf-16-le")).cast("H"))


def is_hidden(char: str) -> bool:
    """Whether a character is not seen, or steers a terminal or a page."""
    return not char.isprintable() or _INVISIBLE.match(char) is not None

"""The words that agents use for how an action went, and which of our statuses each counts as.

    statuses:
      error: [error, failed, rejected]     # replaces the words of `error`; the other lists keep their defaults

Case, spaces, `_` and `-` make no difference: `Timed Out` is `timed_out`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULTS: dict[str, tuple[str, ...]] = {
    "success": ("success", "ok", "completed", "done", "true"),
    "error": ("error", "failed", "failure", "exception", "fatal"),
    "timeout": ("timeout", "timed_out", "deadline_exceeded"),
    "cancelled": ("cancelled", "canceled", "aborted", "interrupted"),
}
"""Collected from public reports of agents whose failures were not counted. Each status is a word of its own, too."""

_SEPARATORS = str.maketrans("", "", " _-")


def key(word: str) -> str:
    """What is compared of a word."""
    return word.casefold().translate(_SEPARATORS)


def words(lists: Mapping[str, Iterable[str]] = DEFAULTS) -> dict[str, str]:
    """The status of each word, by its key and, so that most lines need no key, as it is written."""
    found = {}
    for status, those in lists.items():
        for word in (status, *those):
            found[key(word)] = found[word] = status
    return found


WORDS = words()

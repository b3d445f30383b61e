"""Which actions could be part of a loop at all, told from their names alone.

Each name is a letter, so a session is a word, and one search says whether it goes round anywhere:

    search read search read search read   ->   ababab   ->   matches (..)\\1{2}: look closely

A search costs 0.1 us an action, comparing each with those before it 2.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.config import Config, Loop

LONGEST = 4
"""Actions in a cycle; docs/detectors.md."""
MOST_NAMES = 4096
"""Names with a letter of their own. The rest share one for each kind: that costs closer looks, and finds the same."""
FIRST_TOOL, FIRST_MODEL, FIRST_POLLING, FIRST_POLLING_MODEL = "\u4e00", "\u6000", "\u8000", "\ua000"
"""The first letters of tools and of models, and of those of each that are exempt as they ask again and again."""
_KINDS = (FIRST_TOOL, FIRST_MODEL, FIRST_POLLING, FIRST_POLLING_MODEL)
_MODELS = re.compile("[\u6000-\u7fff\ua000-\ubfff]+")


class Screen:
    """Made anew when the config changes."""

    def __init__(self, config: Config) -> None:
        self._config = config
        wanted = shapes(config.detectors.loop)
        self.loops = _pattern(wanted)
        """Goes round in a session."""
        self.cycles = _pattern(wanted[1:])
        """Goes round in a trace."""
        self.letters: dict[str, str] = {}

    def letter(self, name: str) -> str:
        """That of an action."""
        return self.letters.get(name) or self.learn(name)

    def learn(self, name: str) -> str:
        """Give a name its letter."""
        polls = any(fnmatchcase(name, glob) for glob in self._config.detectors.loop.polling_actions)
        first = ord(_KINDS[2 * polls + self._config.is_llm(name)])
        number = len(self.letters)
        if number >= MOST_NAMES:
            return chr(first + MOST_NAMES)
        letter = self.letters[name] = chr(first + number)
        return letter


def shapes(settings: Loop) -> list[tuple[int, int]]:
    """(actions in a round, steps that all rounds together take) of a repeat and of every cycle."""
    return [
        (1, settings.max_repeats + 1),
        *((length, length * settings.cycle_rounds) for length in range(2, LONGEST + 1)),
    ]


def tools(word: str) -> str:
    """The letters of tools in a word."""
    return _MODELS.sub("", word)


def is_tool(letter: str) -> bool:
    """Whether a letter is that of a tool; a heartbeat, which has none, is no call."""
    return "" < letter < FIRST_MODEL or FIRST_POLLING <= letter < FIRST_POLLING_MODEL


def polls(letter: str) -> bool:
    """Whether a letter is that of an action that asks again and again by design."""
    return letter >= FIRST_POLLING


def _pattern(wanted: Sequence[tuple[int, int]]) -> re.Pattern[str]:
    """What goes round, of the given (length, total)."""
    return re.compile(
        "|".join(
            f"({'.' * length})\\{number}{{{total // length - 1}}}" for number, (length, total) in enumerate(wanted, 1)
        )
    )

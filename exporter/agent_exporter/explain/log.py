"""A log as blocks of whole lines, each with the span of time that it covers, so that other blocks need not be read.

Files are read with `pread`, not mapped: a log that is truncated meanwhile ends early, instead of this process.

The time of a block's first record is read. Where times go back, as between logs that were joined, the span of a block
is unknown, and it is always read.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from itertools import pairwise
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol

from agent_exporter.action import Action
from agent_exporter.lines import MAX_LINE
from agent_exporter.records import read
from agent_exporter.statuses import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

BLOCK = 112 << 10
"""Bytes of a block. Above 128 KiB glibc maps and unmaps each one: measured, that takes three times as long."""
SCAN = 64 << 10
"""Bytes searched at a time. Measured: twice as fast as whole blocks, which do not fit in the cache."""
HEAD = 8 << 10
"""Bytes of a block to search first for its first record."""
SLACK = 60.0
"""Seconds that lines may be out of order: 3 s for the detectors, the rest for writers whose clocks differ."""
MAX_SEAMS = 8
"""If one block in so many goes back in time, the log counts as unordered."""
_PARENT_TRACE = re.compile(rb'"parent_trace_id"[ \t]*:[ \t]*"([^"\\]*(?:\\.[^"\\]*)*)"')
UNKNOWN = float("-inf"), float("inf")


class Reading(Protocol):
    """What is being read, for the progress line."""

    name: str

    def progress(self) -> tuple[int, int]:
        """Bytes read, and bytes in all; 0 if unknown."""


class Block(NamedTuple):
    """Some lines of a log, and their earliest and latest time, in seconds since 1970."""

    log: Log
    number: int
    earliest: float
    latest: float

    def actions(self, *needles: bytes) -> list[Action]:
        """The records; with needles, those whose line contains one of them."""
        return self.log.actions(self.number, *needles)


class Log:
    """A file of plain lines. Calls `report` after each block; ignores records after `latest`."""

    def __init__(
        self,
        name: str,
        file: IO[bytes],
        report: Callable[[Reading], None],
        latest: float,
        words: Mapping[str, str] = WORDS,
    ) -> None:
        self.name = name
        self.latest = latest
        self.words = words
        self.problem: str | None = None
        """Why it could not be read to its end."""
        self.rejected = 0
        """Lines that contain a needle but are not valid records."""
        self._file = file
        self._report = report
        self._size = os.fstat(file.fileno()).st_size
        self._read = self._expected = 0
        """Bytes read so far, over all passes."""

    def __len__(self) -> int:
        return (self._size + BLOCK - 1) // BLOCK

    def progress(self) -> tuple[int, int]:
        return self._read, self._expected

    def text(self, number: int) -> bytes:
        """The whole lines that begin in a block."""
        start = number * BLOCK
        self._read, self._expected = self._read + min(BLOCK, self._size - start), 0
        self._report(self)
        # Start one byte earlier: it shows whether a line begins with the block.
        data = self._pread(start - 1, BLOCK + 1) if start else self._pread(0, BLOCK)
        # A run of NULs, which may be longer than a line, ends what comes before it.
        begin = data.find(b"\n") + 1 if start and not data.startswith(b"\0") else 0
        if start and not begin and not data.startswith(b"\0"):
            return b""
        after = start + BLOCK
        while not data.endswith((b"\n", b"\0")) and after < start + BLOCK + MAX_LINE:
            more = self._pread(after, HEAD)
            if not more:
                break
            end = more.find(b"\n") + 1
            data += more[: end or None]
            after += len(more)
        return data[begin:]

    def actions(self, number: int, *needles: bytes) -> list[Action]:
        """The records of a block; with needles, those whose line contains one of them."""
        text = self.text(number)
        lines = _naming(text, len(text), needles) if needles else text.split(b"\n")
        return list(_records(lines, self.latest, self.words))

    def naming(self, needles: Iterable[bytes]) -> Iterator[Action]:
        """Every record whose line contains one of the needles: about as fast as grep for each needle."""
        for text, whole in self._windows():
            lines = _naming(text, whole, needles)
            records = list(_records(lines, self.latest, self.words))
            self.rejected += len(lines) - len(records)
            yield from records

    def _windows(self) -> Iterator[tuple[bytearray, int]]:
        """A buffer, reused so that it stays in the processor's cache, and how many of its bytes are whole lines.

        The rest of a line over MAX_LINE counts as a line, which is not a record.
        """
        text = bytearray(SCAN + MAX_LINE)
        view = memoryview(text)
        held = offset = 0
        self._expected = self._read + self._size
        # Leave what is appended during the search for the next run.
        while read := os.preadv(self._file.fileno(), [view[held : held + min(SCAN, self._size - offset)]], offset):
            offset += read
            self._read += read
            self._report(self)
            end = held + read
            whole = text.rfind(b"\n", 0, end) + 1
            if offset >= self._size or (not whole and end > MAX_LINE):
                whole = end
            yield text, whole
            held = end - whole
            view[:held] = view[whole:end]

    def names(self) -> Iterator[set[bytes]]:
        """The values of `parent_trace_id` as written, perhaps repeated: JSON strings without their quotes."""
        for text, whole in self._windows():
            yield set(_PARENT_TRACE.findall(text, 0, whole))

    def lines(self) -> Iterator[bytes]:
        """All of them."""
        for text, whole in self._windows():
            yield from bytes(text[:whole]).split(b"\n")

    def every(self) -> Iterator[Action]:
        """Every record."""
        return _records(self.lines(), self.latest, self.words)

    def blocks(self) -> list[Block]:
        """All blocks, with their times."""
        starts = [self._first(number) for number in range(len(self))]
        if starts:
            starts.append(max((action.at for action in self.actions(len(self) - 1)), default=None))
        spans = [_span(*pair) for pair in pairwise(starts)]
        if spans.count(UNKNOWN) * MAX_SEAMS > len(spans):
            spans = [UNKNOWN] * len(spans)
        return [Block(self, number, *span) for number, span in enumerate(spans)]

    def _pread(self, offset: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, offset)

    def _first(self, number: int) -> float | None:
        """The time of a block's first record."""
        # Start one byte earlier, as a line may begin with the block.
        start = max(0, number * BLOCK - 1)
        head = self._pread(start, HEAD).split(b"\n")[1 if number else 0 : -1]
        first = next(_records(head, self.latest, self.words), None) or next(
            _records(self.text(number).split(b"\n"), self.latest, self.words), None
        )
        return None if first is None else first.at


def merged(*searches: Iterable[Action]) -> list[Action]:
    """The results of several searches of the same logs, each line once. Equal lines within one search stay separate."""
    found: dict[tuple[bytes, int], Action] = {}
    for search in searches:
        met: Counter[bytes] = Counter()
        for action in search:
            met[action.line] += 1
            found.setdefault((action.line, met[action.line]), action)
    return list(found.values())


def _naming(text: bytes | bytearray, whole: int, needles: Iterable[bytes]) -> list[bytes]:
    """The lines in the first `whole` bytes that contain one of the needles."""
    lines: dict[int, bytes] = {}
    for needle in needles:
        found = text.find(needle, 0, whole)
        while found >= 0:
            begin, end = text.rfind(b"\n", 0, found) + 1, text.find(b"\n", found, whole)
            end = whole if end < 0 else end
            lines[begin] = bytes(text[begin:end])
            found = text.find(needle, end + 1, whole)
    return [lines[begin] for begin in sorted(lines)]


def _records(lines: Iterable[bytes], latest: float, words: Mapping[str, str]) -> Iterator[Action]:
    return (action for line in lines if line and isinstance(action := read(line.lstrip(b"\0"), latest, words), Action))


def _span(first: float | None, following: float | None) -> tuple[float, float]:
    if first is None or following is None or following < first - SLACK:
        return UNKNOWN
    return first - SLACK, following + SLACK

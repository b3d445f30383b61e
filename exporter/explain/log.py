"""A log as blocks of whole lines, each with the span of time that it covers: what need not be read is not.

Whatever a log is, it becomes a file of plain lines first: one that is so already is read where it lies; what is packed,
wrapped by a container runtime or comes through a pipe goes to a temporary file without a name. Files are read with
`pread`, not mapped: a log that is truncated meanwhile ends early, instead of this process.

Of each block the time of the first record is looked at. Where time goes back, as between logs that were joined, nothing
is known of a block: it is always read.
"""

from __future__ import annotations

import glob
import os
import re
import stat
import tempfile
import zlib
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import IO, TYPE_CHECKING, NamedTuple, Protocol

from exporter.action import MAX_AHEAD, Action, decode
from exporter.sources import MAX_LINE
from exporter.sources.once import reader
from exporter.sources.wrappers import BOM, Stream, Unwrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from exporter.sources.place import Identity

BLOCK = 112 << 10
"""Bytes. Above 128 KiB glibc maps and unmaps each anew, which was measured to take three times as long."""
SCAN = 64 << 10
"""Bytes of a window that is searched. Measured: twice as fast as whole blocks, which do not fit the cache."""
HEAD = 8 << 10
"""Bytes of a block in which its first record is looked for, before all of it is."""
SLACK = 60.0
"""Seconds that lines may be out of order: 3 s for the detectors, the rest for writers that do not agree on the time."""
MOST_SEAMS = 8
"""A log in which one block of so many goes back in time has no order at all."""
_PARENT_TRACE = re.compile(rb'"parent_trace_id"[ \t]*:[ \t]*"([^"\\]*(?:\\.[^"\\]*)*)"')
UNKNOWN = float("-inf"), float("inf")


class Reading(Protocol):
    """What is being read, as progress shows it."""

    name: str

    def progress(self) -> tuple[int, int]:
        """Bytes read and bytes in all, 0 if that is not known."""


class Block(NamedTuple):
    """Some lines of a log, and between which times they lie, in seconds since 1970."""

    log: Log
    number: int
    earliest: float
    latest: float

    def actions(self, *needles: bytes) -> list[Action]:
        """The records, or those in whose lines one of the needles is."""
        return self.log.actions(self.number, *needles)


class Log:
    """A file of plain lines. `told` hears of every block that is read; records after `latest` are none."""

    def __init__(self, name: str, file: IO[bytes], told: Callable[[Reading], None], latest: float) -> None:
        self.name = name
        self.latest = latest
        self.problem: str | None = None
        """Why it could not be read to its end."""
        self._file = file
        self._told = told
        self._size = os.fstat(file.fileno()).st_size
        self._read = self._expected = 0
        """Bytes, of all that is read of it one time after the other."""
        self._blocks: list[Block] | None = None

    def __len__(self) -> int:
        return (self._size + BLOCK - 1) // BLOCK

    def progress(self) -> tuple[int, int]:
        return self._read, self._expected

    def text(self, number: int) -> bytes:
        """The lines that begin in a block, whole."""
        start = number * BLOCK
        self._read, self._expected = self._read + min(BLOCK, self._size - start), 0
        self._told(self)
        # From the byte before on, as that one says whether a line begins with the block.
        data = self._pread(start - 1, BLOCK + 1) if start else self._pread(0, BLOCK)
        begin = data.find(b"\n") + 1 if start else 0
        if start and not begin:
            return b""
        after = start + BLOCK
        while not data.endswith(b"\n") and after < start + BLOCK + MAX_LINE:
            more = self._pread(after, HEAD)
            if not more:
                break
            end = more.find(b"\n") + 1
            data += more[: end or None]
            after += len(more)
        return data[begin:]

    def actions(self, number: int, *needles: bytes) -> list[Action]:
        """The records of a block, or those in whose lines one of the needles is."""
        text = self.text(number)
        lines = _naming(text, len(text), needles) if needles else text.split(b"\n")
        return list(_records(lines, self.latest))

    def naming(self, needles: Iterable[bytes]) -> Iterator[Action]:
        """Every record in whose line one of the needles is: for each of them about as fast as grep."""
        for text, whole in self._windows():
            yield from _records(_naming(text, whole, needles), self.latest)

    def _windows(self) -> Iterator[tuple[bytearray, int]]:
        """A buffer, used again and again so that it stays in the processor's cache, and how much of it is whole lines.

        What remains of a line over MAX_LINE is taken for a line: it is no record.
        """
        text = bytearray(SCAN + MAX_LINE)
        view = memoryview(text)
        held = offset = 0
        self._expected = self._read + self._size
        # What a log grows by meanwhile is left for the next time.
        while read := os.preadv(self._file.fileno(), [view[held : held + min(SCAN, self._size - offset)]], offset):
            offset += read
            self._read += read
            self._told(self)
            end = held + read
            whole = text.rfind(b"\n", 0, end) + 1
            if offset >= self._size or (not whole and end > MAX_LINE):
                whole = end
            yield text, whole
            held = end - whole
            view[:held] = view[whole:end]

    def names(self) -> Iterator[set[bytes]]:
        """What `parent_trace_id` stands for, as it is written, each once or more often: JSON strings without quotes."""
        for text, whole in self._windows():
            yield set(_PARENT_TRACE.findall(text, 0, whole))

    def lines(self) -> Iterator[bytes]:
        """All of them."""
        for text, whole in self._windows():
            yield from bytes(text[:whole]).split(b"\n")

    def every(self) -> Iterator[Action]:
        """Every record."""
        return _records(self.lines(), self.latest)

    def blocks(self) -> list[Block]:
        """All of it, with the times."""
        if self._blocks is None:
            starts = [self._first(number) for number in range(len(self))]
            if starts:
                starts.append(max((action.at for action in self.actions(len(self) - 1)), default=None))
            spans = [_span(*pair) for pair in pairwise(starts)]
            if spans.count(UNKNOWN) * MOST_SEAMS > len(spans):
                spans = [UNKNOWN] * len(spans)
            self._blocks = [Block(self, number, *span) for number, span in enumerate(spans)]
        return self._blocks

    def _pread(self, offset: int, length: int) -> bytes:
        return os.pread(self._file.fileno(), length, offset)

    def _first(self, number: int) -> float | None:
        """The time of a block's first record."""
        head = self._pread(number * BLOCK, HEAD).split(b"\n")[1 if number else 0 : -1]
        first = next(_records(head, self.latest), None) or next(
            _records(self.text(number).split(b"\n"), self.latest), None
        )
        return None if first is None else first.at


def _naming(text: bytes | bytearray, whole: int, needles: Iterable[bytes]) -> list[bytes]:
    """The lines in the first `whole` bytes in which one of the needles is."""
    lines: dict[int, bytes] = {}
    for needle in needles:
        found = text.find(needle, 0, whole)
        while found >= 0:
            begin, end = text.rfind(b"\n", 0, found) + 1, text.find(b"\n", found, whole)
            end = whole if end < 0 else end
            lines[begin] = bytes(text[begin:end])
            found = text.find(needle, end + 1, whole)
    return [lines[begin] for begin in sorted(lines)]


def _records(lines: Iterable[bytes], latest: float) -> Iterator[Action]:
    return (action for line in lines if line and isinstance(action := decode(line, latest), Action))


def _span(first: float | None, following: float | None) -> tuple[float, float]:
    if first is None or following is None or following < first - SLACK:
        return UNKNOWN
    return first - SLACK, following + SLACK


# --- opening -------------------------------------------------------------------------------------------------------


class Unpacking:
    """A log on its way to a file of plain lines."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.done = 0

    def progress(self) -> tuple[int, int]:
        return self.done, 0


@contextmanager
def open_logs(paths: Iterable[str], told: Callable[[Reading], None], clock: float) -> Iterator[list[Log]]:
    """The logs of files, globs and "-", each file once. Raises OSError for one that is not there."""
    seen: set[Identity] = set()
    with ExitStack() as stack:
        logs = []
        for path in paths:
            named = path == "-" or os.path.lexists(path)
            names = [path] if named else sorted(glob.glob(path, recursive=True))  # noqa: PTH207
            if not names:
                raise FileNotFoundError(f"no file matches {path!r}")
            for name in names:
                st = os.stat(0 if name == "-" else name)  # noqa: PTH116
                if (st.st_dev, st.st_ino) not in seen:
                    seen.add((st.st_dev, st.st_ino))
                    file, problem = _plain(name, st, told)
                    stack.enter_context(file)
                    logs.append(Log(name, file, told, clock + MAX_AHEAD))
                    logs[-1].problem = problem
        yield logs


def _plain(name: str, st: os.stat_result, told: Callable[[Reading], None]) -> tuple[IO[bytes], str | None]:
    """A file of plain lines, and why it is not whole."""
    if stat.S_ISREG(st.st_mode) and not name.endswith(".gz"):
        file = open(0 if name == "-" else name, "rb", buffering=0, closefd=name != "-")  # noqa: SIM115  (the caller's)
        head = os.pread(file.fileno(), BLOCK, 0)
        unwrapper = Unwrapper()
        unwrapper.feed(head.split(b"\n"))
        if unwrapper.mode in {"", "plain"} and not head.startswith(BOM):
            return file, None
        file.close()
    return _unpacked(name, told)


def _unpacked(name: str, told: Callable[[Reading], None]) -> tuple[IO[bytes], str | None]:
    """The same for a copy without a name."""
    problem = None
    stream = Stream()
    unpacking = Unpacking(name)
    with reader(name) as (file, _):
        copy = tempfile.TemporaryFile()  # noqa: SIM115  (the caller's)
        try:
            while data := file.read1(BLOCK):
                copy.writelines(line + b"\n" for line in stream.feed(data).lines)
                unpacking.done += len(data)
                told(unpacking)
        except (EOFError, OSError, zlib.error) as error:
            problem = str(error)
    copy.writelines(line + b"\n" for line in stream.end().lines)
    copy.flush()
    return copy, problem

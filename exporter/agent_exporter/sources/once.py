"""Files that are read once, from start to end: plain, compressed, or standard input."""

from __future__ import annotations

import errno
import gzip
import logging
import os
import stat
import zlib
from contextlib import contextmanager
from copy import copy
from io import BufferedIOBase, BufferedReader
from typing import TYPE_CHECKING

from agent_exporter import formats
from agent_exporter.lines import BLOCK, MAX_LINE, Batch
from agent_exporter.sources import Source
from agent_exporter.sources.paths import matches, nothing_at, quoted
from agent_exporter.sources.place import Claims
from agent_exporter.sources.splitting import Stream
from agent_exporter.sources.zstd import Unzstd

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator


log = logging.getLogger(__name__)


class PastFiles(Source):
    """All files that match `pattern`, each read once to its end, packed ones (.gz, .zst) too; it keeps no state.

    Raises OSError if there is none, or if the named one is a folder or cannot be read. Sources that share
    `claims` do not read a file twice.
    """

    def __init__(
        self, name: str, pattern: str, *, claims: Claims | None = None, choice: formats.Choice | None = None
    ) -> None:
        self.name = name
        self._choice = choice or formats.Choice()
        self.memory = self._choice.memory
        self.problems: dict[str, str] = {}
        """Why a file could not be read to its end, by name."""
        self._pattern = os.path.abspath(pattern)  # noqa: PTH100  (glob wants strings, and links left as they are)
        self._claims = Claims() if claims is None else claims
        paths = matches(self._pattern)
        regular = [st for path in paths if (st := self._stat(path)) and stat.S_ISREG(st.st_mode)]
        if paths == [self._pattern]:
            _check(pattern)
        elif not regular:
            raise nothing_at(pattern)
        self._paths = paths
        self._batches = self._read()
        self._done = 0
        self._whole = self
        """The source that this one is a part of (`parts`)."""
        self._total = sum(st.st_size for st in regular)

    def read(self) -> Batch | None:
        batch = next(self._batches, None)
        self.finished = batch is None
        return batch

    def parts(self) -> list[PastFiles]:
        """A source for each file, under this one's name, for a reader who puts lines in order by their time."""
        return [self._part(path, self._choice, self._claims) for path in self._paths]

    def peek(self) -> PastFiles | None:
        """The same files from their beginning, for a look that counts nothing; None if they can be read only once."""
        if not all((st := self._stat(path)) and stat.S_ISREG(st.st_mode) for path in self._paths):
            return None
        look = self._part(self._paths[0], formats.Choice(self._choice.mapping), Claims())
        look.problems, look._whole = {}, look  # noqa: SLF001
        return look

    def close(self) -> None:
        """Read no more."""
        self._batches.close()

    def _part(self, path: str, choice: formats.Choice, claims: Claims) -> PastFiles:
        part = copy(self)
        part._paths, part._choice, part._claims = [path], choice, claims  # noqa: SLF001
        part._batches = part._read()  # noqa: SLF001
        return part

    def progress(self) -> tuple[int, int]:
        """Bytes read, and bytes in all; of a packed file, compressed bytes."""
        return self._done, self._total

    def _read(self) -> Generator[Batch, None, None]:
        for path in self._paths:
            st = self._stat(path)
            if st is None:
                continue
            owner = self._claims.get((st.st_dev, st.st_ino))
            if owner is not None:
                log.warning("%s: %s is left out: %s reads it already", self.name, quoted(path), quoted(owner))
                continue
            # Read a pipe only by name, as in `replay <(zcat x)`: one that a pattern finds may never write.
            if path != self._pattern and not stat.S_ISREG(st.st_mode):
                log.warning("%s: %s is left out: it is not a regular file", self.name, quoted(path))
                continue
            self._claims[st.st_dev, st.st_ino] = self.name
            stream = Stream(self._choice.new(path))
            done = 0
            try:
                with reader(path) as (file, raw):
                    while data := file.read1(BLOCK):
                        if stat.S_ISREG(st.st_mode):
                            self._whole._done += raw.tell() - done  # noqa: SLF001
                            done = raw.tell()
                        yield stream.feed(data)
            except (OSError, EOFError, zlib.error) as error:
                self._problem(path, error)
            yield stream.end()

    def _stat(self, path: str) -> os.stat_result | None:
        try:
            return os.stat(path)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._problem(path, error)
            return None

    def _problem(self, path: str, error: Exception) -> None:
        text = getattr(error, "strerror", None) or str(error)
        if self.problems.get(path) != text:
            self.problems[path] = text
            log.warning("%s: %s cannot be read: %s", self.name, quoted(path), text)


def _check(path: str) -> None:
    """Raise OSError for a file that cannot be read, without opening it: a pipe gives its data once."""
    code = 0
    if stat.S_ISDIR(os.stat(path).st_mode):  # noqa: PTH116
        code = errno.EISDIR
    elif not os.access(path, os.R_OK):
        code = errno.EACCES
    if code:
        raise OSError(code, os.strerror(code), path)


def numbered(
    path: str, choice: formats.Choice | None = None, aside: Callable[[int, Batch], None] = lambda *_: None
) -> Iterator[tuple[int, bytes | None]]:
    """The records of a file or, for "-", of standard input: each with the number of the line it began in.

    A record is None if it is too long. `aside` is called with each line of which a format skips anything, and what
    became of it. Raises OSError if the file cannot be read (to its end).
    """
    format_ = (choice or formats.Choice()).new(path)
    begun: dict[str, int] = {}
    with reader(path) as (file, _):
        for number, line in enumerate(_lines(file, format_), 1):
            if line is None:
                yield number, None
                continue
            batch = format_.feed([line])
            # One line ends at most one record, or begins one.
            ended = begun.keys() - set(format_.unfinished)
            first = begun.pop(ended.pop()) if ended else number
            for stream in set(format_.unfinished) - begun.keys():
                begun[stream] = number
            if batch.skipped or batch.silent:
                aside(first, batch)
            for record in batch.lines:
                yield first, record
            if batch.too_long:
                yield first, None
    left = list(format_.unfinished)
    last = format_.end()
    records: list[bytes | None] = [*last.lines, *[None] * last.too_long]
    for stream, rest in zip(left, records, strict=False):
        yield begun[stream], rest


def raw_lines(path: str, format_: formats.ChosenFormat) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a file or of standard input, with their numbers; None for a line that is too long.

    Raises OSError if the file cannot be read (to its end).
    """
    with reader(path) as (file, _):
        yield from enumerate(_lines(file, format_), 1)


def _lines(file: BufferedIOBase, format_: formats.ChosenFormat) -> Iterator[bytes | None]:
    """The lines of a file; None for a line that is too long for its format."""
    try:
        while line := file.readline((longest := format_.max_line) + 2):
            if line.startswith(b"\0"):
                line = _after_nuls(file, line)
            ended = line.endswith(b"\n")
            text = line.removesuffix(b"\n").removesuffix(b"\r")
            yield text if len(text) <= longest else None
            while not ended and len(text) > longest and line:
                line = file.readline(BLOCK)
                ended = line.endswith(b"\n")
    except (EOFError, zlib.error) as error:
        raise OSError(f"{error}") from error


def _after_nuls(file: BufferedIOBase, line: bytes) -> bytes:
    """A line without the NULs before it; there may be more of them than a line may have bytes."""
    while not (rest := line.lstrip(b"\0")) and line:
        line = file.readline(MAX_LINE + 2)
    return rest if rest.endswith(b"\n") else rest + file.readline(MAX_LINE + 2 - len(rest))


@contextmanager
def reader(path: str) -> Iterator[tuple[BufferedIOBase, BufferedIOBase]]:
    """The content of a file, unpacked if it is packed, or of standard input for "-"; and the file on disk."""
    if path == "-":
        with open(0, "rb", closefd=False) as raw:
            yield raw, raw
    elif path.endswith(".gz"):
        with open(path, "rb") as raw, gzip.GzipFile(fileobj=raw) as file:  # noqa: PTH123
            yield file, raw
    elif path.endswith(".zst"):
        with open(path, "rb") as raw, BufferedReader(Unzstd(raw), BLOCK) as file:  # noqa: PTH123
            yield file, raw
    else:
        with open(path, "rb") as raw:  # noqa: PTH123
            yield raw, raw

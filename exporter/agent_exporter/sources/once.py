"""Files that are read once, from start to end: plain, compressed, or standard input."""

from __future__ import annotations

import errno
import gzip
import logging
import os
import stat
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent_exporter import formats
from agent_exporter.lines import BLOCK, MAX_LINE, Batch
from agent_exporter.sources import Source
from agent_exporter.sources.paths import matches, nothing_at, quoted
from agent_exporter.sources.place import Claims
from agent_exporter.sources.splitting import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedIOBase


log = logging.getLogger(__name__)


class PastFiles(Source):
    """All files that match `pattern`, each read once to its end, .gz too; it keeps no state.

    Raises OSError if there is none, or if the named one is a folder or cannot be read. Sources that share
    `claims` do not read a file twice.
    """

    def __init__(self, name: str, pattern: str, *, claims: Claims | None = None) -> None:
        self.name = name
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
        self._batches = self._read(paths)
        self._done = 0
        self._total = sum(st.st_size for st in regular)

    def read(self) -> Batch | None:
        batch = next(self._batches, None)
        self.finished = batch is None
        return batch

    def progress(self) -> tuple[int, int]:
        """Bytes read, and bytes in all; of a .gz, compressed bytes."""
        return self._done, self._total

    def _read(self, paths: list[str]) -> Iterator[Batch]:
        for path in paths:
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
            stream = Stream()
            before = self._done
            try:
                with reader(path) as (file, raw):
                    while data := file.read1(BLOCK):
                        if stat.S_ISREG(st.st_mode):
                            self._done = before + raw.tell()
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


def numbered(path: str) -> Iterator[tuple[int, bytes | None]]:
    """The records of a file, a .gz or, for "-", of standard input: each with the number of the line it began in.

    A record is None if it is too long. Raises OSError if the file cannot be read (to its end).
    """
    format_ = formats.new()
    begun: dict[str, int] = {}
    with reader(path) as (file, _):
        for number, line in enumerate(_lines(file), 1):
            if line is None:
                yield number, None
                continue
            batch = format_.feed([line])
            # One line ends at most one record, or begins one.
            ended = begun.keys() - set(format_.unfinished)
            first = begun.pop(ended.pop()) if ended else number
            for stream in set(format_.unfinished) - begun.keys():
                begun[stream] = number
            for record in batch.lines:
                yield first, record
            if batch.too_long:
                yield first, None
    left = list(format_.unfinished)
    last = format_.end()
    records: list[bytes | None] = [*last.lines, *[None] * last.too_long]
    for stream, rest in zip(left, records, strict=False):
        yield begun[stream], rest


def _lines(file: BufferedIOBase) -> Iterator[bytes | None]:
    """The lines of a file; None for a line that is too long."""
    try:
        while line := file.readline(MAX_LINE + 2):
            if line.startswith(b"\0"):
                line = _after_nuls(file, line)
            ended = line.endswith(b"\n")
            text = line.removesuffix(b"\n").removesuffix(b"\r")
            yield text if len(text) <= MAX_LINE else None
            while not ended and len(text) > MAX_LINE and line:
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
    """The content of a file, unpacked if it is a .gz, or of standard input for "-"; and the file on disk."""
    if path == "-":
        with open(0, "rb", closefd=False) as raw:
            yield raw, raw
    elif path.endswith(".gz"):
        with open(path, "rb") as raw, gzip.GzipFile(fileobj=raw) as file:  # noqa: PTH123
            yield file, raw
    else:
        with open(path, "rb") as raw:  # noqa: PTH123
            yield raw, raw

"""Files that are read once, from start to end: plain, packed, or standard input."""

from __future__ import annotations

import gzip
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agent_exporter.sources import BLOCK, MAX_LINE
from agent_exporter.sources.wrappers import Unwrapper

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedIOBase


def numbered(path: str) -> Iterator[tuple[int, bytes | None]]:
    """The records of a file, a .gz or, for "-", of standard input: each with the number of the line it began in.

    A record is None if it is too long. Raises OSError if the file cannot be read (to its end).
    """
    unwrapper = Unwrapper()
    begun: dict[str, int] = {}
    with reader(path) as (file, _):
        for number, line in enumerate(_lines(file), 1):
            if line is None:
                yield number, None
                continue
            batch = unwrapper.feed([line])
            # One line ends the record of one stream at most, or begins it.
            ended = begun.keys() - unwrapper.pieces.keys()
            first = begun.pop(ended.pop()) if ended else number
            for stream in unwrapper.pieces.keys() - begun.keys():
                begun[stream] = number
            for record in batch.lines:
                yield first, record
            if batch.too_long:
                yield first, None
    for stream, piece in unwrapper.pieces.items():
        yield begun[stream], piece


def _lines(file: BufferedIOBase) -> Iterator[bytes | None]:
    """The lines of a file, None for one that is too long."""
    try:
        while line := file.readline(MAX_LINE + 2):
            ended = line.endswith(b"\n")
            text = line.removesuffix(b"\n").removesuffix(b"\r")
            yield text if len(text) <= MAX_LINE else None
            while not ended and len(text) > MAX_LINE and line:
                line = file.readline(BLOCK)
                ended = line.endswith(b"\n")
    except (EOFError, zlib.error) as error:
        raise OSError(f"{error}") from error


@contextmanager
def reader(path: str) -> Iterator[tuple[BufferedIOBase, BufferedIOBase]]:
    """The content of a file, of a .gz unpacked, or of standard input for "-"; and the file that lies on disk."""
    if path == "-":
        with open(0, "rb", closefd=False) as raw:
            yield raw, raw
    elif path.endswith(".gz"):
        with open(path, "rb") as raw, gzip.GzipFile(fileobj=raw) as file:  # noqa: PTH123
            yield file, raw
    else:
        with open(path, "rb") as raw:  # noqa: PTH123
            yield raw, raw

"""How far a file was read, and what identifies it: its first bytes, and hashes of the bytes before some offsets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import msgspec
import xxhash

from agent_exporter.formats import Choice

if TYPE_CHECKING:
    from collections.abc import Callable

ROW_KIND = "file"
"""Kind of the rows of state."""
HEAD = 1000
"""Bytes at the start that identify a file, as in OpenTelemetry's filelog receiver."""
TAIL = 256
"""Bytes hashed before an offset."""
MARKS = 16
"""Offsets kept. A copy made before the last few reads ends between two of them."""
Identity = tuple[int, int]
"""dev, inode"""


class Claims(dict[Identity, str]):
    """The name of the source that reads each file, so that none is read twice."""

    def __init__(self) -> None:
        self.patterns: list[tuple[str, Callable[[str], bool]]] = []
        """(source, whether its pattern matches a path)"""

    def reader_by_name(self, path: str, mine: Callable[[str], bool]) -> str | None:
        """The other source that finds by its own name what this path is a link to.

        `mine` is the pattern of the source that asks. The other one reads it: a link in another folder must choose
        neither its format nor whether its lines count.
        """
        real = os.path.realpath(path)
        if real == path:
            return None
        return next((name for name, fits in self.patterns if fits != mine and fits(real)), None)


class Place(msgspec.Struct):
    """How far a file was read, and what identifies it. The value of a row of state."""

    path: bytes
    """Its name when it was first seen; bytes, as a name need not be UTF-8."""
    dev: int
    inode: int
    head: bytes = b""
    marks: Annotated[list[tuple[int, bytes]], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: [(0, b"")]
    )
    """(offset, hash of the bytes before it), oldest first. The last one is how far the file was read."""
    format: bytes = b""
    """What the format of the file remembers (`Format.dump`)."""
    skipping: bool = False
    past: int = 0
    """With `start_at: end`: records up to this offset are remembered and not counted."""

    @property
    def offset(self) -> int:
        return self.marks[-1][0]

    @property
    def key(self) -> str:
        return f"{self.dev:x}:{self.inode:x}"

    @property
    def ghost_key(self) -> str:
        return f"{self.key}:{self.offset:x}:{self.marks[-1][1].hex()}"

    def in_copy(self, fd: int, size: int) -> int:
        """How many bytes of the file `fd`, of `size` bytes, are a copy of what was read here; 0 if it is not a copy."""
        newer = size + 1
        for offset, tail in reversed(self.marks):
            if 0 < offset <= size:
                if tail_hash(fd, offset) == tail:
                    # Made between two reads: all of it was read in the original. Not if it differs after this mark,

                    # nor if the two may share only a banner.
                    return size if HEAD <= offset < self.offset and newer > size else offset
                newer = offset
        return 0


def tail_hash(fd: int, offset: int) -> bytes:
    """A hash of the bytes before the offset."""
    length = min(TAIL, offset)
    return xxhash.xxh3_64_digest(os.pread(fd, length, offset - length)) if length else b""


def akin(head: bytes, other: bytes) -> bool:
    """Whether the two may be the first bytes of the same content."""
    return head.startswith(other) or other.startswith(head)


def ends_line(fd: int, offset: int) -> bool:
    return os.pread(fd, 1, offset - 1) == b"\n"


def read(_: str, value: bytes) -> Place:
    """The place of a row. Raises msgspec.MsgspecError, also for a format that cannot be loaded."""
    place = msgspec.msgpack.decode(value, type=Place)
    Choice().load(place.format)
    return place

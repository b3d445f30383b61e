"""One followed file: its present name, and its next block."""

from __future__ import annotations

import errno
import os

import xxhash

from agent_exporter import formats
from agent_exporter.lines import BLOCK, MAX_LINE, Batch, join
from agent_exporter.sources.place import HEAD, MARKS, TAIL, Identity, Place, ends_line, tail_hash
from agent_exporter.sources.splitting import Splitter, Stream

GROWTH_WINDOW = 0.5
"""Seconds over which the growth of a file is measured."""


class Followed:
    """One followed file: a place, and how to read on from it."""

    def __init__(self, place: Place, choice: formats.Choice | None = None) -> None:
        self._choice = choice or formats.Choice()
        self.path: str | None = os.fsdecode(place.path)
        """Its path now; None if no name is known."""
        self.fd: int | None = None
        self.size = self.mtime = -1
        """Its size when last checked."""
        self.changed = 0.0
        """When it last changed, by the source's clock."""
        self.gone: float | None = None
        """Since when the pattern does not match it."""
        self.queued = self.ended = self.more = self.failed = False
        self._searched = 0
        """The offset up to which there are only NULs after the place."""
        self.after: Followed | None = None
        """The file that had this one's name before: read to its end first."""
        self.cut = 0
        """Bytes that were known and not read when it shrank."""
        self.growth = Growth()
        self.real_path = ""
        """Where it was when it was opened last; "" until then. See `real_path`."""
        self.begin(place)

    def begin(self, place: Place) -> None:
        self.place = place
        self.home = os.fsdecode(place.path)
        self.cut = 0
        self._searched = 0
        self.splitter = Splitter()
        self.splitter.skipping = place.skipping
        self.format = self._choice.load(place.format, self.home)

    @property
    def id(self) -> Identity:
        return self.place.dev, self.place.inode

    @property
    def rotated(self) -> bool:
        """Whether no more writes are expected."""
        return self.gone is not None or self.path != self.home

    def snapshot(self) -> Place:
        self.place.format = self.format.dump()
        self.place.skipping = self.splitter.skipping
        return self.place

    def whole(self) -> bool:
        """Whether the part that was read is still there."""
        assert self.fd is not None
        offset, tail = self.place.marks[-1]
        return tail_hash(self.fd, offset) == tail and os.pread(self.fd, len(self.place.head), 0) == self.place.head

    def read(self) -> Batch | None:
        """One block, or a whole line if it is longer; None if the file is not the one it was."""
        assert self.fd is not None
        offset = self.place.offset
        size = BLOCK
        data = os.pread(self.fd, size, offset)
        if data.startswith(b"\0") and not self.splitter.skipping:
            offset = self._after_nuls()
            data = os.pread(self.fd, size, offset)
        longest = self.splitter.max_line = self.format.max_line
        while len(data) == size and size < longest + 2 and not self.splitter.skipping and b"\n" not in data:
            # With CR LF; any line that has no end in there is too long.
            size = longest + 2 if longest == MAX_LINE else min(longest + 2, 8 * size)
            data = os.pread(self.fd, size, offset)
        if not self.whole():  # check after reading: bytes from before a truncation may be lost, but never mixed up
            return None
        past = self._past(offset, data)
        self.more = len(data) == size or past > 0
        data = data[:past] if past else data
        split = self.splitter.feed(data)
        skipped = self._advance(offset, data, len(data) - self.splitter.give_back())
        batch = self.format.feed(split.lines).counting(split, skipped)
        return Batch([]) if past else batch

    def _past(self, offset: int, data: bytes) -> int:
        """How many bytes of `data` are remembered and not counted (`Place.past`); whole lines only."""
        left = self.place.past - offset
        if left <= 0:
            return 0
        if self.splitter.skipping or (left > len(data) and b"\n" not in data):  # in a line that is too long
            return min(left, len(data))
        end = data.rfind(b"\n", 0, left) + 1
        if not end:
            self.place.past = 0  # what is left is a line that is still being written: it counts
        return end

    def at_end(self) -> Place:
        """The place from which only what is new counts.

        A record of another program may repeat, continue or end what stands before it, in this file or in another. So
        such a file is read from its beginning, and its format remembers what it holds.
        """
        assert self.fd is not None
        if not self._choice.of_file(self.home, os.pread(self.fd, MAX_LINE, 0)):
            return place_at_end(self)
        return Place(self.place.path, *self.id, past=os.fstat(self.fd).st_size)

    def _after_nuls(self) -> int:
        """The end of the NULs at the place.

        The place stays before them until a line follows: a writer may have reserved the space and fill it later. Holes
        are skipped without reading.
        """
        assert self.fd is not None
        size = os.fstat(self.fd).st_size
        at = max(self._searched, self.place.offset)
        while True:
            try:
                at = os.lseek(self.fd, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                self._searched = at = max(at, size)  # no data to the end of the file
                return at
            data = os.pread(self.fd, BLOCK, at)
            rest = data.lstrip(b"\0")
            self._searched = at = at + len(data) - len(rest)
            if rest or not data:
                return at

    def end(self) -> Batch | None:
        """The unterminated last line and the last pieces of a complete file."""
        batch = self.read()
        if batch is None or self.more:
            return batch
        assert self.fd is not None
        offset = max(self.place.offset, self._searched)
        data = os.pread(self.fd, self.format.max_line + 2, offset)
        if not data.strip(b"\0"):
            data = b""  # space that was reserved and never used
        stream = Stream(self.format, self.splitter)
        batch = join(batch, stream.feed(data), stream.end(), self._advance(offset, data, len(data)))
        self.ended = True
        return batch

    def _advance(self, offset: int, data: bytes, length: int) -> Batch:
        """`length` bytes of `data`, which was read at `offset`, were handed out; counts the NULs before it."""
        place = self.place
        if not length:
            return Batch([])
        assert self.fd is not None
        skipped = offset - place.offset
        recent = data[max(0, length - TAIL) : length]
        if length < TAIL:
            short = min(TAIL - length, offset)
            recent = os.pread(self.fd, short, offset - short) + recent
        place.marks = [*place.marks[1 - MARKS :], (offset + length, xxhash.xxh3_64_digest(recent))]
        if len(place.head) < HEAD:
            place.head = os.pread(self.fd, min(HEAD, place.offset), 0)
        return Batch([], 0, skipped)


class Growth:
    """How fast a file grows, to tell what it had got when it was cut. Sizes in bytes, times in seconds."""

    def __init__(self) -> None:
        self._rate = 0.0
        self._size = -1
        self._at = self._seen = 0.0

    def observe(self, size: int, now: float) -> None:
        """It has this size now, and was not cut."""
        if self._size < 0:
            self._size, self._at = size, now
        elif now - self._at >= GROWTH_WINDOW:
            self._rate = max(0, size - self._size) / (now - self._at)
            self._size, self._at = size, now
        self._seen = now

    def since(self, now: float) -> int:
        """What it may have got since it was last seen, at the rate of before."""
        return int(self._rate * (now - self._seen))


def place_at_end(file: Followed) -> Place:
    """A place after the present content. Skips the rest of a line that is being written."""
    assert file.fd is not None
    size = os.fstat(file.fd).st_size
    place = Place(file.place.path, *file.id, os.pread(file.fd, min(HEAD, size), 0), [(size, tail_hash(file.fd, size))])
    place.skipping = not ends_line(file.fd, size) and os.pread(file.fd, 1, size - 1) != b"\0"
    return place


def open_same(path: str, identity: Identity) -> int:
    """Open the file. Raises FileNotFoundError if the name is now another file's."""
    # Neither wait if it is a FIFO now, nor get a controlling terminal.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    st = os.fstat(fd)
    if (st.st_dev, st.st_ino) == identity:
        return fd
    os.close(fd)
    raise FileNotFoundError(path)


def real_path(fd: int, path: str) -> str:
    """Where an open file is, without links. `path` led to it.

    A link in one agent's folder must not pass its lines for another's, nor may the name that an inode had before.
    """
    try:
        return os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115  (as the rest here)
    except OSError:  # no Linux
        return os.path.realpath(path)


def find(directory: str, identity: Identity) -> str | None:
    """The name of the file with this inode in the directory, after a rotation."""
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.inode() == identity[1] and entry.stat(follow_symlinks=False).st_dev == identity[0]:
                    return entry.path
    except OSError:
        pass  # the directory is gone, too
    return None

"""Files, followed as they grow and rotate.

An unfinished line is not kept in memory: it is read again when there is more of it. So the state of a file is how far
whole lines were handed out, and what identifies the file: its first bytes, and for its last few offsets a hash of the
bytes before each. These cases differ by that:

    renamed               the same dev and inode: reading continues; found by its inode if outside the pattern
    truncated, refilled   the same inode, other bytes before the offset: read from the start
    inode used again      the same
    copied (copytruncate) another inode, the same bytes before the offset: reading starts where the original was left.
                          While the original is still whole, its copy is ignored.
"""

from __future__ import annotations

import fnmatch
import logging
import os
import stat
import time
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Literal

import msgspec

from agent_exporter.formats import Choice
from agent_exporter.lines import Batch, Origin
from agent_exporter.sources import Source
from agent_exporter.sources.followed import Followed, find, open_same, real_path
from agent_exporter.sources.paths import matches, quoted
from agent_exporter.sources.place import HEAD, ROW_KIND, Claims, Identity, Place, akin, ends_line, read, tail_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent_exporter.state import Row

SCAN = 1.0
"""Seconds between two scans for new files."""
LOOK = 0.1
"""Seconds between two looks at the open files while there is more to read; else they are looked at each time. 500 files
take a millisecond."""
QUIET = 5.0
"""Seconds without a change after which a rotated file counts as complete."""
COPY_WITHIN = 10.0
"""Seconds within which a copy of a file that was cut is found, if the pattern matches it; twice QUIET."""
FORGET = 3600.0
"""Seconds for which a missing file is remembered: it, or a copy of it, may appear."""
MAX_EMPTY = 100
"""Empty files that are looked at between two scans."""
MAX_OPEN = 512
"""Files open at once: half of the usual limit of 1,024 per process. The least recently read are closed first."""
MAX_GONE = 4096
"""Missing files remembered, and as many truncated contents: twice the 2,000 files that one folder may hold."""
RACY = 100_000_000
"""Nanoseconds within which two changes may carry the same mtime, so that an equal one proves nothing."""


log = logging.getLogger(__name__)


class FileSource(Source):
    """All files that match `pattern`, from their beginning or, at the first start, from their end.

    Sources that share `claims` do not read a file twice.
    """

    kinds = (ROW_KIND,)

    def __init__(
        self,
        name: str,
        pattern: str,
        *,
        start_at: Literal["beginning", "end"] = "beginning",
        claims: Claims | None = None,
        choice: Choice | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.truncations = 0
        """Number of files that lost their content but kept their name."""
        self.lost_bytes = 0
        """An estimate of what was cut from files before it was read, and of which no copy was found."""
        self._losses: dict[str, tuple[int, float, str]] = {}
        """(bytes, since when, path) of cut contents of which a copy may still be found, by their `ghost_key`."""
        self.problems: dict[str, str] = {}
        """Why a file cannot be read, by name."""
        self._pattern = os.path.abspath(pattern)  # noqa: PTH100  (glob wants strings, and links left as they are)
        self._claims = Claims() if claims is None else claims
        self._claims.patterns.append((name, self._matches))
        self._clock = clock
        self._choice = choice or Choice()
        self.memory = self._choice.memory
        self._at_end = start_at == "end"
        self._files: dict[Identity, Followed] = {}
        self._ghosts: dict[str, tuple[Place, float]] = {}
        """Missing contents, with the time when that was noticed; oldest first."""
        self._open: dict[Identity, Followed] = {}
        """Least recently used first."""
        self._ready: deque[Followed] = deque()
        self._homes: dict[str, Followed] = {}
        """The last file seen under each name."""
        self._changes: dict[str, Callable[[], Place] | None] = {}
        self._copies: dict[Identity, tuple[int, float]] = {}
        """Files that look like copies of files being read, with their size and since when it has not changed."""
        self._passed_over: set[str] = set()
        self._empty: list[str] = []
        """Files without content at the last scan."""
        self._left: set[str] = set()
        """Files that another source reads; each is logged once."""
        self._any = True
        self._next_scan = self._next_look = float("-inf")

    def read(self) -> Batch | None:
        now = self._clock()
        if now < self._next_scan and (not self._ready or now >= self._next_look):
            self._next_look = now + LOOK
            for file in list(self._open.values()):
                self._look_at_open(file, now)
            if self._filled():
                self._next_scan = now
        if now >= self._next_scan:
            self._next_scan = now + SCAN
            self._scan(now)
        while self._ready:
            batch = self._read_next(now)
            if batch is not None:
                return batch
        return None

    def _filled(self) -> bool:
        """Whether a file that was empty at the last scan has something now: what it gets may be cut before the next."""
        return any((st := self._stat(path)) and st.st_size for path in self._empty)

    def changes(self) -> Iterator[Row]:
        changes, self._changes = self._changes, {}
        for key, place in changes.items():
            yield ROW_KIND, key, None if place is None else msgspec.msgpack.encode(place())

    def close(self) -> None:
        """End a source, as after a change of the config."""
        self._claims.patterns.remove((self.name, self._matches))
        for file in self._files.values():
            self._close(file)
            self._claims.pop(file.id, None)

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        for key, value in rows:
            place = read(key, value)
            file = Followed(place, self._choice)
            if not self._matches(file.home):
                continue
            self._at_end = False  # it was written while the exporter was down
            if key == place.ghost_key:
                self._ghosts[key] = place, self._clock()
            elif file.id not in self._claims:
                self._claim(file)
                self._homes[file.home] = file

    def progress(self) -> tuple[int, int]:
        total = sum(max(file.size, 0) for file in self._files.values())
        return total - self.unread(), total

    def unread(self) -> int:
        """Bytes that are known but not read yet, without unfinished lines."""
        return sum(max(0, file.size - file.place.offset) for file in self._ready)

    def backlog(self, counts: Callable[[Origin], bool]) -> Callable[[], bool] | None:
        now = self._clock()
        for file in list(self._open.values()):
            if not file.queued and counts(_origin(file)):
                self._look_at_open(file, now)
        unread = [(file, file.size) for file in self._ready if counts(_origin(file))]
        return (lambda: all(not file.queued or file.place.offset >= size for file, size in unread)) if unread else None

    # What there is to read

    def _scan(self, now: float) -> None:
        seen: dict[Identity, tuple[str, os.stat_result]] = {}
        notes = set()
        for path in matches(self._pattern):
            st = self._stat(path)
            if st is None:
                continue
            if note := _passed_over(path, st):
                notes.add(path)
                if path not in self._passed_over:
                    log.warning("%s: %s is left out: %s", self.name, quoted(path), note)
                continue
            identity = st.st_dev, st.st_ino
            known = self._files.get(identity)
            if identity not in seen or (known and known.home == path):
                seen[identity] = path, st
        self._passed_over = notes
        self._empty.clear()
        self._left &= {path for path, _ in seen.values()}
        if self._any and not seen:
            log.warning("%s: no file matches %s now", self.name, quoted(self._pattern))
        self._any = bool(seen)
        for path in list(self.problems):
            self._stat(path)  # the file may be gone, and its problem too
        for identity, (path, st) in seen.items():
            file = self._files.get(identity)
            if file is None and st.st_size:  # an empty file may become a copy
                file = self._begin(path, st, now)
            elif file is None and len(self._empty) < MAX_EMPTY:
                self._empty.append(path)
            if file is not None:
                file.path, file.gone = path, None
                if path == file.home:
                    self._homes[path] = file
                if file.fd is not None and not file.failed:
                    self._solved(path)
                self._look(file, st, now)
        for key, (size, since, path) in list(self._losses.items()):
            if now - since > COPY_WITHIN:
                del self._losses[key]
                self.lost_bytes += size
                log.warning(
                    "%s: about %d bytes of %s are lost: it was cut before they were read", self.name, size, quoted(path)
                )
        self._at_end = False
        self._copies = {key: value for key, value in self._copies.items() if key in seen and key not in self._files}
        for identity, file in list(self._files.items()):
            if identity not in seen:
                self._missing(file, now)
            if file.rotated and not file.ended and now - file.changed >= QUIET and (file.path or file.fd is not None):
                self._enqueue(file)
        gone = [file for file in self._files.values() if file.gone is not None]
        for file in gone[: max(0, len(gone) - MAX_GONE)]:
            self._forget(file)
        excess = len(self._ghosts) - MAX_GONE
        for i, (key, (_, since)) in enumerate(list(self._ghosts.items())):
            if i < excess or now - since > FORGET:
                del self._ghosts[key]
                self._changes[key] = None

    def _matches(self, path: str) -> bool:
        return path == self._pattern or (
            fnmatch.fnmatchcase(path, self._pattern)
            and ("**" in self._pattern or path.count("/") == self._pattern.count("/"))
        )

    def _stat(self, path: str) -> os.stat_result | None:
        try:
            return os.stat(path)  # noqa: PTH116  (hot: thousands a second)
        except (FileNotFoundError, NotADirectoryError):
            self.problems.pop(path, None)
            return None
        except OSError as error:
            self._problem(path, error)
            return None

    def _look(self, file: Followed, st: os.stat_result, now: float) -> None:
        """Queue the file if it may have changed since the last look."""
        moved = (st.st_size, st.st_mtime_ns) != (file.size, file.mtime)
        if st.st_size >= file.size:
            file.growth.observe(st.st_size, now)
        if moved:
            if st.st_size < file.size:
                file.cut = max(0, file.size - file.place.offset)
            file.size, file.mtime, file.changed, file.ended = st.st_size, st.st_mtime_ns, now, False
        if moved or abs(time.time_ns() - st.st_mtime_ns) < RACY:
            self._enqueue(file)

    def _look_at_open(self, file: Followed, now: float) -> os.stat_result | None:
        assert file.fd is not None
        try:
            st = os.fstat(file.fd)
        except OSError as error:  # a network file system lost it
            self._problem(file.home, error)
            self._close(file)
            file.size = -1
            return None
        self._look(file, st, now)
        return st

    def _enqueue(self, file: Followed) -> None:
        if not file.queued:
            file.queued = True
            self._ready.append(file)

    def _begin(self, path: str, st: os.stat_result, now: float) -> Followed | None:
        """Follow a file with an unknown inode, unless another source has it or it is a copy."""
        owner = self._claims.get((st.st_dev, st.st_ino)) or self._claims.reader_by_name(path, self._matches)
        if owner is not None:
            if path not in self._left:
                self._left.add(path)
                log.warning("%s: %s is left out: %s reads it already", self.name, quoted(path), quoted(owner))
            return None
        file = Followed(Place(os.fsencode(path), st.st_dev, st.st_ino), self._choice)
        if not self._opened(file):
            return None
        try:
            place = file.at_end() if self._at_end else self._place(file, now)
        except OSError as error:
            self._problem(path, error)
            place = None
        if place is None:
            self._close(file)
            return None
        file.begin(place)
        self._claim(file)
        file.after = self._homes.get(path)
        if place.offset or place.past:
            self._changes[place.key] = file.snapshot
            log.info("%s: %s counts from byte %d", self.name, quoted(path), place.offset or place.past)
        return file

    def _claim(self, file: Followed) -> None:
        self._files[file.id] = file
        self._claims[file.id] = self.name

    def _place(self, file: Followed, now: float) -> Place | None:
        """Where to begin in a new file: after the part that was read in its original. None: not now."""
        assert file.fd is not None
        size = os.fstat(file.fd).st_size
        place = Place(file.place.path, *file.id)
        if not size:
            return place
        head = os.pread(file.fd, HEAD, 0)
        others = [other for other in self._files.values() if other.place.offset and akin(other.place.head, head)]
        for other in others:
            if not self._opened(other) or not self._opened(file):  # the latter keeps it open
                continue
            assert other.fd is not None
            if not other.whole() or os.fstat(other.fd).st_size < size:
                continue
            if tail_hash(file.fd, size) == tail_hash(other.fd, size):
                if size > other.place.offset or not ends_line(file.fd, size) or not self._settled(file.id, size, now):
                    return None
                return Place(file.place.path, *file.id, head[:size], [(size, tail_hash(file.fd, size))])
        ghosts = (ghost for ghost, _ in self._ghosts.values() if akin(ghost.head, head))
        for origin in chain(ghosts, (other.snapshot() for other in others)):
            start = origin.in_copy(file.fd, size)
            if start > place.offset:
                place = Place(file.place.path, *file.id, head[:start], [(start, tail_hash(file.fd, start))])
                if start == origin.offset:
                    self._losses.pop(origin.ghost_key, None)
                    place.format, place.skipping = origin.format, origin.skipping
                place.past = origin.past
        return place

    def _settled(self, identity: Identity, size: int, now: float) -> bool:
        """Whether the copying of this file has ended."""
        before, since = self._copies.get(identity, (None, now))
        if before != size:
            since = now
        self._copies[identity] = size, since
        return now - since >= QUIET

    def _missing(self, file: Followed, now: float) -> None:
        """The pattern does not match it any more: renamed, deleted, or away for a while."""
        if file.gone is None:
            st = self._stat(file.home)
            if file.home in self.problems or (st and (st.st_dev, st.st_ino) == file.id):
                return
            file.gone = now
            if file.fd is None:
                file.path = find(os.path.dirname(file.home), file.id)  # noqa: PTH120
        elif now - file.gone > FORGET and now - file.changed > FORGET:
            self._forget(file)
            return
        if file.fd is None and file.path is None:
            self._lose(file, max(0, file.size - file.place.offset), now)
            self._bury(file, now)
            return
        if file.fd is None and (file.ended or not self._opened(file)):
            return
        st = self._look_at_open(file, now)
        if st and file.ended and not st.st_nlink:  # an open file would keep its space on disk
            self._bury(file, now)

    def _lose(self, file: Followed, size: int, now: float) -> None:
        """So much of it is lost, unless a copy appears."""
        if size and len(self._losses) < MAX_GONE:
            self._losses[file.place.ghost_key] = size, now, file.home
        else:
            self.lost_bytes += size

    def _bury(self, file: Followed, now: float) -> None:
        """Its content is gone, and another file may get its inode. A copy of its content may appear."""
        ghost = file.snapshot()
        self._forget(file)
        if ghost.offset:
            self._ghosts[ghost.ghost_key] = ghost, now
            self._changes[ghost.ghost_key] = lambda: ghost

    def _forget(self, file: Followed) -> None:
        self._close(file)
        if file.queued:
            self._ready.remove(file)
            file.queued = False
        del self._files[file.id]
        self._claims.pop(file.id, None)
        if self._homes.get(file.home) is file:
            del self._homes[file.home]
        self._changes[file.place.key] = None

    # Reading

    def _read_next(self, now: float) -> Batch | None:
        """A block of the file that has waited longest; None if it has nothing new."""
        file = self._ready.popleft()
        file.queued = False
        if file.after is not None:
            if file.after.queued:
                self._enqueue(file)
                return None
            before, file.after = file.after, None
            if not file.place.offset and before.format.continues and self._files.get(before.id) is before:
                file.format.take_over(before.format)  # a record in pieces, or a call, continues in the next file
                self._changes[before.place.key] = before.snapshot
                self._changes[file.place.key] = file.snapshot
        if not self._opened(file):
            return None
        offset = file.place.offset
        try:
            quiet = file.rotated and now - file.changed >= QUIET
            batch = file.end() if quiet else file.read()
        except OSError as error:
            self._problem(file.home, error)
            file.failed, file.size = True, -1
            return None
        if file.failed:
            file.failed = False
            self._solved(file.home)
        if batch is None:
            self._start_over(file, now)
            return None
        if file.more:
            self._enqueue(file)
        if file.place.offset == offset and not batch.lines and not batch.too_long:
            return None
        self._changes[file.place.key] = file.snapshot
        self.origins = ((0, _origin(file)),)
        return batch

    def _start_over(self, file: Followed, now: float) -> None:
        """Another content under the same inode."""
        self.truncations += 1
        offset = file.place.offset
        log.info("%s: %s was truncated or replaced, %d bytes of it were read", self.name, quoted(file.home), offset)
        self._lose(file, file.cut + file.growth.since(now), now)
        # From here on it is a new file, which may be a copy, too: inodes are reused soon.
        self._bury(file, now)
        path = file.path or file.home
        st = self._stat(path)
        new = self._begin(path, st, now) if st else None
        if st and new:
            new.path = path
            self._homes[path] = new
            self._look(new, st, now)

    def _opened(self, file: Followed) -> bool:
        if file.fd is None:
            if file.path is None:
                return False
            while len(self._open) >= MAX_OPEN:
                rest = self._open.values()
                self._close(next((other for other in rest if other.gone is None), next(iter(rest))))
            try:
                file.fd = open_same(file.path, file.id)
                file.real_path = real_path(file.fd, file.path)
            except FileNotFoundError:
                file.size = -1  # so that the next scan tries again
                return False
            except OSError as error:
                file.size = -1
                self._problem(file.path, error)
                return False
            self._solved(file.path)
        self._open.pop(file.id, None)
        self._open[file.id] = file
        return True

    def _close(self, file: Followed) -> None:
        self._open.pop(file.id, None)
        if file.fd is not None:
            os.close(file.fd)
            file.fd = None

    def _problem(self, path: str, error: Exception) -> None:
        text = getattr(error, "strerror", None) or str(error)
        if self.problems.get(path) != text:
            self.problems[path] = text
            log.warning("%s: %s cannot be read: %s", self.name, quoted(path), text)

    def _solved(self, path: str) -> None:
        if path in self.problems:
            del self.problems[path]
            log.warning("%s: %s can be read again", self.name, quoted(path))


def _origin(file: Followed) -> Origin:
    return Origin(path=file.real_path or os.path.realpath(file.path or file.home))


def _passed_over(path: str, st: os.stat_result) -> str | None:
    """Why a file that matches the pattern is not followed."""
    if not stat.S_ISREG(st.st_mode):
        return "it is not a regular file"
    if path.endswith((".gz", ".zst")):
        return "what a rotation has packed was read before; `replay` reads it"
    return None

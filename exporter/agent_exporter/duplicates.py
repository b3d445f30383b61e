"""Records delivered a moment ago: what a collector sends again because it missed our answer is counted once.

Only a sender that waits for an answer delivers again, so this is for OTLP alone: of files and standard input every line
counts, however many are equal. A record is the same if its line, its own times and attributes are, and if it is the
k-th such record of its request, too: two equal records of one request are two, and the request sent again is none.

It is known by a keyed 64-bit hash (xxh3: 0.06 us a line where `hashlib` takes 1). The key is drawn at random and kept
in the state, so nobody can craft a line that passes for another agent's.
"""

from __future__ import annotations

import os
import struct
from array import array
from typing import TYPE_CHECKING

from xxhash import xxh3_64_intdigest

from agent_exporter.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent_exporter.state import Row, Store

LINES = 65_536
"""A record is remembered for at least so many further ones; docs/log-schema.md."""
SECONDS = 60.0
"""And at least so long when reading live; docs/log-schema.md."""
MAX_RECORDS = 150_000
"""In one generation, about 10 MB: SECONDS at 2,500 lines/s. Beyond it the older one goes early, and is counted.

A set of 157,286 takes twice the room of a smaller one.
"""

CHUNK = 512
"""Hashes in a row of state: a page of SQLite's."""


ROW_KIND, SEED = "duplicates", "seed"
"""The kind of the rows, and the key of one of them. All hold numbers of 8 bytes; what is to hold more is
another kind.
"""


class Duplicates(Stage):
    """Two generations of hashes; when the younger is full and old enough, the older one is forgotten whole.

    `stored` is False where there is no file to store them in: then nothing is set aside for `changes`.
    """

    def __init__(self, now: float, *, stored: bool = True) -> None:
        self.seed = int.from_bytes(os.urandom(8)) >> 1
        self.evictions = 0
        self._keep = stored
        self._young: set[int] = set()
        self._old: set[int] = set()
        self._born = now
        self._fresh: list[int] = []
        self._stored = 0
        self._number = 0
        self._chunk = 0
        self._chunks: list[str] = []
        self._old_chunks: list[str] = []
        self._rows: list[Row] = [(ROW_KIND, SEED, self.seed.to_bytes(8))]

    def request(self) -> Callable[[bytes, bytes], bool]:
        """For the records of one request, in order: whether a line with its envelope was delivered before."""
        met: dict[int, int] = {}

        def seen(line: bytes, envelope: bytes) -> bool:
            key = xxh3_64_intdigest(envelope, xxh3_64_intdigest(line, self.seed))
            before = met.get(key, 0)
            met[key] = before + 1
            return self._seen(xxh3_64_intdigest(before.to_bytes(4), key) if before else key)

        return seen

    def _seen(self, key: int) -> bool:
        """True if it was seen within the window; remembers it."""
        if key in self._young or key in self._old:
            return True
        self._young.add(key)
        if self._keep:
            self._fresh.append(key)
        return False

    def age(self, now: float) -> None:
        """Forget what is outside the window. `now` is the live clock; infinite when reading a past log."""
        young = self._young
        if len(young) < LINES or (now - self._born < SECONDS and len(young) < MAX_RECORDS):
            return
        if now - self._born < SECONDS:
            self.evictions += len(self._old)
        self._store_fresh()
        self._close_chunk()
        self._rows.extend((ROW_KIND, key, None) for key in self._old_chunks)
        self._old, self._young = young, set()
        self._old_chunks, self._chunks = self._chunks, []
        self._born = now
        self._number += 1

    def evicted(self) -> Iterable[tuple[str, int]]:
        """Records forgotten before their time."""
        yield "duplicates", self.evictions

    def changes(self) -> Iterator[Row]:
        """What was remembered and forgotten since the last call."""
        self._store_fresh()
        rows, self._rows = self._rows, []
        yield from rows

    def restore(self, store: Store, now: float) -> None:  # noqa: ARG002
        """Take up the seed and both generations."""
        for key, value in store.rows(ROW_KIND):
            number, chunk, hashes = read(key, value)
            if key == SEED:
                [self.seed] = hashes
                continue
            if number > self._number:
                self._old, self._young = self._young, set()
                self._old_chunks, self._chunks = self._chunks, []
                self._number = number
            self._young.update(hashes)
            self._chunks.append(key)
            self._chunk = max(self._chunk, chunk + 1)
        self._rows = [(ROW_KIND, SEED, self.seed.to_bytes(8))]

    def _store_fresh(self) -> None:
        """The open chunk is written again until it fills a page: a row per record would be many, one in all large."""
        if self._stored == len(self._fresh):
            return
        key = f"{self._number}/{self._chunk}"
        self._rows.append((ROW_KIND, key, array("Q", self._fresh).tobytes()))
        self._stored = len(self._fresh)
        if key not in self._chunks[-1:]:
            self._chunks.append(key)
        if self._stored >= CHUNK:
            self._close_chunk()

    def _close_chunk(self) -> None:
        self._chunk += 1
        self._fresh = []
        self._stored = 0


def read(key: str, value: bytes) -> tuple[int, int, Sequence[int]]:
    """The generation and the chunk of a row, and its hashes; of SEED the one number that it is."""
    if key == SEED:
        return 0, 0, struct.unpack(">Q", value)
    number, chunk = key.split("/")
    return int(number), int(chunk), array("Q", value)

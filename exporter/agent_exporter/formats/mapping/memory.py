"""What is counted once, whatever file it stands in: a fork repeats the history of another file, in any order.

One table for all files of all formats. It is bounded, its rows are committed with the offsets of the files, and what
it has to drop is counted: what is read again after that counts again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent_exporter.state import Row

ROW_KIND = "format_memory"
"""Of the rows of state."""
MAX_KEYS = 131_072
"""Calls remembered, some 250 bytes each: twice what ten busy developers make in a month. The oldest go first."""


class Remembered(msgspec.Struct, array_like=True):
    """A row: what was counted under a key; `counts` is empty if nothing but the key matters."""

    order: int
    """A later row has a higher one."""
    counts: list[float | int] = []


_decode = msgspec.msgpack.Decoder(Remembered).decode


class Memory:
    """Counts by key, the one that changed last at the end."""

    def __init__(self, most: int = MAX_KEYS) -> None:
        self.evictions = 0
        """Keys that had to make room."""
        self.dropped_calls = 0
        """Open calls of all streams that had to make room (`stream`)."""
        self._most = most
        self._counts: dict[str, list[float | int]] = {}
        self._order = 0
        self._changed: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._counts)

    @staticmethod
    def key(format_: str, kind: str, name: str) -> str:
        """Of what a format says of a name; hashed, as names from logs may be long."""
        return xxhash.xxh3_128_hexdigest(f"{format_}\0{kind}\0{name}".encode(errors="surrogatepass"))

    def get(self, key: str) -> list[float | int] | None:
        """What was counted; not to be changed."""
        return self._counts.get(key)

    def put(self, key: str, counts: list[float | int]) -> None:
        """Remember this as the newest."""
        self._counts.pop(key, None)
        self._counts[key] = counts
        self._changed[key] = None
        if len(self._counts) > self._most:
            oldest = next(iter(self._counts))
            del self._counts[oldest]
            self._changed[oldest] = None
            self.evictions += 1

    def evicted(self) -> Iterator[tuple[str, int]]:
        """(table, entries dropped since the start)."""
        yield "format_calls", self.dropped_calls
        yield "format_keys", self.evictions

    def changes(self) -> Iterator[Row]:
        """Rows that changed since the last call."""
        changed, self._changed = self._changed, {}
        for key in changed:
            counts = self._counts.get(key)
            self._order += 1
            yield ROW_KIND, key, None if counts is None else msgspec.msgpack.encode(Remembered(self._order, counts))

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take up committed rows."""
        found = sorted(((_decode(value), key) for key, value in rows), key=lambda row: row[0].order)
        for remembered, key in found:
            self._counts[key] = remembered.counts
            self._order = max(self._order, remembered.order)


def read(_: str, value: bytes) -> Remembered:
    """A row of state. Raises msgspec.MsgspecError."""
    return _decode(value)

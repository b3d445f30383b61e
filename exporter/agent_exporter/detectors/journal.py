"""The findings: kept in the state, and printed once each.

A finding is committed together with the lines that it comes from, printed after that, and then marked as printed. So
SIGKILL forgets none; one that falls into the few milliseconds between the last two steps is printed again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from agent_exporter.detectors.finding import Finding  # noqa: TC001  (msgspec reads the annotations)
from agent_exporter.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent_exporter.state import Row, Store

ROW_KIND = "finding"
MAX_FINDINGS = 500
"""Number of findings kept, for pages; the latest."""
MAX_UNPRINTED = 10_000
"""Findings that wait for the reader of standard output: some 10 MB."""


class Entry(Struct, array_like=True):
    """One finding; `printed` only once it is known to be."""

    finding: Finding
    printed: bool = False


class Journal(Stage):
    """`write` begins to print lines, and is not called again while `busy`; None where findings go another way."""

    def __init__(
        self,
        write: Callable[[bytes], None] | None = None,
        busy: Callable[[], bool] = lambda: False,
        most: int = MAX_FINDINGS,
    ) -> None:
        self._write = write
        self._busy = busy
        self._most = most
        self._printing: list[tuple[str, Entry]] = []
        self.evictions = 0
        self._number = 0
        self._keys: deque[str] = deque()
        self._fresh: dict[str, Entry] = {}
        self._unprinted: list[tuple[str, Entry]] = []
        self._gone: list[str] = []
        self._stored = ""
        """The key of the latest row that there is."""

    def add(self, finding: Finding) -> None:
        """Keep a finding."""
        self._number += 1
        key = f"{self._number:016}"
        self._keys.append(key)
        if len(self._keys) > self._most:
            oldest = self._keys.popleft()
            self._fresh.pop(oldest, None)
            if oldest <= self._stored:  # a past log is committed at its end alone
                self._gone.append(oldest)
        entry = self._fresh[key] = Entry(finding)
        if self._write is not None:
            self._unprinted.append((key, entry))
            if len(self._unprinted) > MAX_UNPRINTED:
                del self._unprinted[0]
                self.evictions += 1

    def evicted(self) -> Iterable[tuple[str, int]]:
        """Findings that standard output did not take."""
        yield "unprinted", self.evictions

    def changes(self) -> Iterator[Row]:
        """Rows of what is new, or newly printed."""
        fresh, self._fresh = self._fresh, {}
        for key, entry in fresh.items():
            yield ROW_KIND, key, msgspec.msgpack.encode(entry)
            self._stored = max(self._stored, key)
        gone, self._gone = self._gone, []
        for key in gone:
            yield ROW_KIND, key, None

    def committed(self) -> bool:
        """Print what is in the state. Returns True if that has to be committed in turn."""
        if self._write is None:
            return False
        done = self._mark_printed()
        if self._unprinted and not self._printing:
            self._printing, self._unprinted = self._unprinted, []
            self._write(b"".join(entry.finding.to_json() + b"\n" for _, entry in self._printing))
            done = self._mark_printed() or done
        return done

    def _mark_printed(self) -> bool:
        if not self._printing or self._busy():
            return False
        printed, self._printing = self._printing, []
        for _, entry in printed:
            entry.printed = True
        self._fresh |= {key: entry for key, entry in printed if key >= self._keys[0]}
        return True

    def restore(self, store: Store, now: float) -> None:  # noqa: ARG002
        """Restore from committed rows. Findings that are not printed yet are printed after the next commit."""
        for key, value in sorted(store.rows(ROW_KIND)):
            self._number, entry = read(key, value)
            self._stored = key
            self._keys.append(key)
            if self._write is not None and not entry.printed:
                self._unprinted.append((key, entry))


def recent(rows: Iterable[tuple[str, bytes]]) -> list[Finding]:
    """The findings in committed rows of the kind ROW_KIND, oldest first."""
    return [read(key, value)[1].finding for key, value in sorted(rows)]


def read(key: str, value: bytes) -> tuple[int, Entry]:
    """The number of a row's finding, and the finding. Raises KeyError for an unknown kind."""
    entry = msgspec.msgpack.decode(value, type=Entry)
    _ = entry.finding.topic
    return int(key), entry

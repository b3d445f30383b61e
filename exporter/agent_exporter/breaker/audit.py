"""What the breaker did and why: one JSON object a line, each with the hash of the one before it.

    {"at":"2026-03-18T09:15:33.002Z","event":"intended","agent_id":"a",...,"n":7,"prev":"3f...","hash":"a0..."}

An entry is committed with the rows that it describes, and written after that, so SIGKILL loses none and writes none
twice: the number `n` shows what the file has already, even if the disk was full in the middle of a line. To change or
remove a line breaks the chain, and `verify` says where. The state has the last hash and number, too, and the next line
follows it: so a file that was cut or replaced shows it, and after a file was moved away the chain goes on in the new
one.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from agent_exporter.action import stamp
from agent_exporter.text import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from agent_exporter.state import Row

log = logging.getLogger(__name__)

ROW_KIND = "audit"
HEAD = "head"
"""Key of the row with the number and the hash of the last line written."""
GENESIS = "0" * 64
"""`prev` of the first line."""
LAST = 256 << 10
"""Bytes at the end of a file in which to look for its last line; our lines are shorter."""
MAX_OBSERVED = 100
"""Entries a minute about sessions that are only observed: anyone can invent sessions, and they must not fill the disk.
`dropped` of the next line counts the rest, and agent_terminations_total counts all."""
MAX_WAITING = 10_000
"""Entries that wait while the file cannot be written. The oldest are dropped; the next line written says how many."""

_encode = msgspec.json.Encoder(order="deterministic").encode


class Head(msgspec.Struct, array_like=True):
    """The row HEAD: number and hash of the last line written."""

    number: int
    hash: str


class Audit:
    """Appends to a file, or, without one, keeps nothing. Never raises: stopping a runaway must not wait for it."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.head = GENESIS
        self._number = 0
        self._written = 0
        self._dropped = 0
        self._minute = self._observed = 0.0
        """When the current minute began (seconds since 1970), and its entries about observed sessions."""
        self._fresh: list[tuple[int, dict[str, Any]]] = []
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque()
        self._gone: list[int] = []
        self._noted = 0
        """The number of the last line, as the state has it."""
        self._unsure = False
        """A write has failed: some of it may be in the file."""
        self.problem: str | None = None
        """Why the file cannot be written, if it cannot."""
        if path is not None:
            self._go_on(path)

    def write(self, event: str, now: float, **fields: Any) -> None:
        """Add an entry. It is on disk after the next commit."""
        if self.path is None:
            return
        if event == "observed":
            if not 0 <= now - self._minute < 60:
                self._minute, self._observed = now, 0
            self._observed += 1
            if self._observed > MAX_OBSERVED:
                self._dropped += 1
                return
        self._number += 1
        self._fresh.append((self._number, {"at": stamp(now), "event": event, **fields}))

    def changes(self) -> Iterator[Row]:
        """Rows of entries that are not in the file yet."""
        gone, self._gone = self._gone, []
        for number in gone:
            yield ROW_KIND, f"{number:016}", None
        fresh, self._fresh = self._fresh, []
        for number, entry in fresh:
            self._waiting.append((number, entry))
            yield ROW_KIND, f"{number:016}", _encode(entry)
        if self._written != self._noted:
            self._noted = self._written
            yield ROW_KIND, HEAD, _encode(Head(self._written, self.head))
        while len(self._waiting) > MAX_WAITING:
            self._gone.append(self._waiting.popleft()[0])
            self._dropped += 1

    def committed(self) -> None:
        """Write the entries that the state has to the file."""
        if not self._waiting or self.path is None:
            return
        try:
            if self._unsure:
                self._catch_up(self.path)
            self._append(self.path)
        except OSError as error:
            self._unsure = True
            if self.problem is None:
                log.error("the audit log %s cannot be written, its entries wait: %s", self.path, error.strerror)  # noqa: TRY400
            self.problem = error.strerror or str(error)
        else:
            if self.problem is not None:
                log.warning("the audit log %s can be written again; what waited is in it", self.path)
            self.problem = None

    def _append(self, path: Path) -> None:
        if not self._waiting:
            return
        head = self.head
        lines: list[bytes] = []
        for number, entry in self._waiting:
            dropped = {"dropped": self._dropped} if self._dropped and not lines else {}
            complete = {**entry, **dropped, "n": number, "prev": head}
            complete["hash"] = head = digest(complete)
            lines.append(escaped(_encode(complete)))
        with os.fdopen(_open(path), "ab") as file:
            file.write(b"\n".join(lines) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.head, self._written, self._dropped = head, self._waiting[-1][0], 0
        self._gone += [number for number, _ in self._waiting]
        self._waiting.clear()

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Restore from committed rows. The number of an entry says whether the former run also wrote it."""
        for key, value in sorted(rows):
            row = read(key, value)
            if isinstance(row, Head):
                self._follow(row.number, row.hash)
                continue
            number, entry = row
            self._number = max(self._number, number)
            if number > self._written:
                self._waiting.append((number, entry))
            else:
                self._gone.append(number)
        fresh, self._fresh = self._fresh, []
        for _, entry in fresh:  # about a torn line: it comes after the entries that wait
            self._number += 1
            self._fresh.append((self._number, entry))

    def _follow(self, number: int, head: str) -> None:
        """Follow the last line that the state knows, if the file ends neither with it nor with a later one."""
        self._noted = number
        if (self._written, self.head) != (number, head) and self._written <= number:
            log.warning(
                "the audit log %s does not end with what was written last, hash %s: unless someone moved it away, "
                "it was changed; the next line follows that hash",
                self.path,
                head,
            )
            self.head, self._written, self._number = head, number, max(self._number, number)

    def _go_on(self, path: Path) -> None:
        """Continue after the last line of the file."""
        try:
            self._catch_up(path)
        except OSError as error:
            self._unsure = True
            self.problem = error.strerror or str(error)
            log.error("the audit log %s cannot be opened, its entries wait: %s", path, self.problem)  # noqa: TRY400
        self._number = self._number or self._written

    def _catch_up(self, path: Path) -> None:
        """Read the end of the file; close a torn line and add an entry about it. Raises OSError."""
        with os.fdopen(_open(path), "r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LAST))
            whole, _, torn = file.read().rpartition(b"\n")
            entry = next((found for line in reversed(whole.splitlines()) if (found := parse(line))), None)
            number = entry.get("n") if entry is not None else None
            if entry is not None and isinstance(number, int) and number > self._written:
                self.head, self._written = entry["hash"], number
            while self._waiting and self._waiting[0][0] <= self._written:
                self._gone.append(self._waiting.popleft()[0])
            if torn:
                file.write(b"\n")
        self._number = max(self._number, self._written)
        self._unsure = False
        if torn:
            log.warning("the last line of the audit log %s was torn; the next line says so", path)
            self.write("torn", datetime.now(UTC).timestamp(), bytes=len(torn), sha256=sha256(torn).hexdigest())


class Verdict(NamedTuple):
    """What `verify` found. A fault is a sentence; `start` is `prev` of the first line."""

    lines: int
    faults: list[str]
    start: str
    head: str


def read(key: str, value: bytes) -> Head | tuple[int, dict[str, Any]]:
    """A row: an entry with its number, or the Head."""
    if key == HEAD:
        return msgspec.json.decode(value, type=Head)
    return int(key), msgspec.json.decode(value, type=dict[str, Any])


class Expected(NamedTuple):
    """What a state file says of the log."""

    head: Head
    waiting: dict[int, dict[str, Any]]
    """Entries by number that may be written already."""


def expected(rows: Iterable[tuple[str, bytes]]) -> Expected | None:
    """From the rows of the state; None if they hold nothing of a log. Raises msgspec.MsgspecError."""
    found = [read(key, value) for key, value in rows]
    heads = [row for row in found if isinstance(row, Head)]
    waiting = dict(row for row in found if not isinstance(row, Head))
    if not heads and not waiting:
        return None
    return Expected(heads[0] if heads else Head(0, GENESIS), waiting)


def verify(path: Path, state: Expected | None = None) -> Verdict:
    """Check the whole chain, and with `state` that it ends as the state says. Raises OSError."""
    faults: list[tuple[int, str]] = []
    start = head = ""
    number = 0
    strange: list[tuple[int, str]] = []
    known: set[str] = set()
    """Hashes of lines torn by a crash; a later line names each."""
    ends = state is None or not state.head.number
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            line = raw.rstrip(b"\n")
            entry = parse(line)
            if entry is None:
                strange.append((number, sha256(line).hexdigest()))
                continue
            if entry.get("event") == "torn":
                known.add(str(entry.get("sha256")))
            start = start or entry["prev"]
            if head and entry["prev"] != head:
                faults.append((number, "does not follow the one before it: one was changed, added or taken out"))
            if digest(entry) != entry["hash"]:
                faults.append((number, "was changed: its hash is not that of what it says"))
            elif line != escaped(_encode(entry)):  # such as a name that is there twice: a reader may see the first
                faults.append((number, "was changed: it says the same, but not as it was written"))
            head = entry["hash"]
            if state is not None:
                if ends and not _is_waiting(entry, state):
                    faults.append((number, "was added: the state does not know it"))
                ends = ends or (entry.get("n"), head) == (state.head.number, state.head.hash)
    for at, its in strange:
        if its not in known:
            perhaps = ", or torn by a crash after which no exporter has started" if at == number else ""
            faults.append((at, f"not one of this log's{perhaps}"))
    sentences = [f"line {at}: {fault}" for at, fault in sorted(faults)]
    if state is not None and not ends:
        sentences.append(
            f"the state's last line, n {state.head.number} with hash {state.head.hash}, is not in it: lines were cut "
            "from its end or changed, or it was moved away and a newer file goes on"
        )
    return Verdict(number, sentences, start or GENESIS, head or GENESIS)


def _is_waiting(entry: dict[str, Any], state: Expected) -> bool:
    waiting = state.waiting.get(entry.get("n", 0), {})
    return all(entry.get(key) == value for key, value in waiting.items()) and bool(waiting)


def digest(entry: dict[str, Any]) -> str:
    """The hash of a line: SHA-256 of all fields but `hash`, with sorted keys."""
    return sha256(_encode({key: value for key, value in entry.items() if key != "hash"})).hexdigest()


def parse(line: bytes) -> dict[str, Any] | None:
    """The entry of a line, or None if the line is not one of this log's."""
    try:
        entry: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
    except ValueError:
        return None
    return entry if isinstance(entry.get("prev"), str) and isinstance(entry.get("hash"), str) else None


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

"""What the breaker did and why: one JSON object a line, each with the hash of the one before it.

    {"at":"2026-03-18T09:15:33.002Z","event":"intended","agent_id":"a",...,"n":7,"prev":"3f...","hash":"a0..."}

An entry is committed with the rows that it tells of, and written after that, so SIGKILL forgets none and writes none
twice: the number `n` says what is there already. Whoever changes or takes out a line breaks the chain from there on,
and `verify` says where. What was cut off at the end shows only against the last hash, which `breaker status` prints;
keep the file append-only (`chattr +a`) or ship it, if its writer is not to be trusted.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from exporter.state import Row

log = logging.getLogger(__name__)

ROW = "audit"
GENESIS = "0" * 64
"""What stands before the first line."""
LAST = 256 << 10
"""Bytes at the end of a file in which its last line is looked for; a line of ours is shorter."""
MOST = 10_000
"""Entries that wait for a file that cannot be written; the oldest go, and the next that is written says how many."""

_encode = msgspec.json.Encoder(order="deterministic").encode


class Audit:
    """Appends to a file, or, without one, keeps nothing. Never raises: stopping a runaway must not wait for it."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.head = GENESIS
        self._number = 0
        self._written = 0
        self._dropped = 0
        self._fresh: list[tuple[int, dict[str, Any]]] = []
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque()
        self._gone: list[int] = []
        self.problem: str | None = None
        """Why the file cannot be written, if it cannot."""
        if path is not None:
            self._go_on(path)

    def write(self, event: str, now: float, **told: Any) -> None:
        """One event; on disk after the next commit."""
        if self.path is None:
            return
        self._number += 1
        self._fresh.append((self._number, {"at": _stamp(now), "event": event, **told}))

    def changes(self) -> Iterator[Row]:
        """Rows of entries that are not in the file yet."""
        gone, self._gone = self._gone, []
        for number in gone:
            yield ROW, f"{number:016}", None
        fresh, self._fresh = self._fresh, []
        for number, entry in fresh:
            self._waiting.append((number, entry))
            yield ROW, f"{number:016}", _encode(entry)
        while len(self._waiting) > MOST:
            self._gone.append(self._waiting.popleft()[0])
            self._dropped += 1

    def committed(self) -> None:
        """What is in the state can be written to the file."""
        if not self._waiting or self.path is None:
            return
        head = self.head
        lines: list[bytes] = []
        for number, entry in self._waiting:
            dropped = {"dropped": self._dropped} if self._dropped and not lines else {}
            complete = {**entry, **dropped, "n": number, "prev": head}
            complete["hash"] = head = digest(complete)
            lines.append(_encode(complete))
        try:
            with os.fdopen(_open(self.path), "ab") as file:
                file.write(b"\n".join(lines) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if self.problem is None:
                log.error("the audit log %s cannot be written, its entries wait: %s", self.path, error.strerror)  # noqa: TRY400
            self.problem = error.strerror or str(error)
            return
        self.problem = None
        self.head, self._dropped = head, 0
        self._gone += [number for number, _ in self._waiting]
        self._waiting.clear()

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take up entries that a former run committed; those that it also wrote are known by their number."""
        for key, value in sorted(rows):
            number = int(key)
            self._number = max(self._number, number)
            if number > self._written:
                self._waiting.append((number, msgspec.json.decode(value)))
            else:
                self._gone.append(number)

    def _go_on(self, path: Path) -> None:
        """After the last line; one that was torn by a crash is closed and told of."""
        try:
            with os.fdopen(_open(path), "r+b") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - LAST))
                whole, _, torn = file.read().rpartition(b"\n")
                entry = next((found for line in reversed(whole.splitlines()) if (found := parse(line))), None)
                if entry is not None:
                    self.head = entry["hash"]
                    self._number = self._written = int(entry.get("n", 0))
                if torn:
                    file.write(b"\n")
        except (OSError, ValueError) as error:
            self.problem = getattr(error, "strerror", None) or str(error)
            log.error("the audit log %s cannot be opened: %s", path, self.problem)  # noqa: TRY400
            return
        if torn:
            log.warning("the last line of the audit log %s was torn; it is told of in the next", path)
            self.write("torn", datetime.now(UTC).timestamp(), bytes=len(torn), sha256=sha256(torn).hexdigest())


class Verdict(NamedTuple):
    """Of a file. A fault is a sentence with the line's number; `start` is the hash that the first line follows."""

    lines: int
    faults: list[str]
    start: str
    head: str


def verify(path: Path) -> Verdict:
    """Read the whole chain. Raises OSError."""
    faults: list[str] = []
    start = head = ""
    number = 0
    torn: bytes | None = None
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            line = raw.rstrip(b"\n")
            entry = parse(line)
            if entry is None:
                if torn is not None:
                    faults.append(f"line {number - 1}: not one of this log's")
                torn = line
                continue
            if torn is not None:
                if entry.get("event") != "torn" or entry.get("sha256") != sha256(torn).hexdigest():
                    faults.append(f"line {number - 1}: not one of this log's")
                torn = None
            start = start or entry["prev"]
            if head and entry["prev"] != head:
                faults.append(f"line {number}: does not follow the one before it: one was changed, added or taken out")
            if digest(entry) != entry["hash"]:
                faults.append(f"line {number}: was changed: its hash is not that of what it says")
            head = entry["hash"]
    if torn is not None:
        faults.append(f"line {number}: not one of this log's, or torn by a crash that nobody has started after")
    return Verdict(number, faults, start or GENESIS, head or GENESIS)


def digest(entry: dict[str, Any]) -> str:
    """The hash of a line: of all of it but the hash itself, with sorted keys."""
    return sha256(_encode({key: value for key, value in entry.items() if key != "hash"})).hexdigest()


def parse(line: bytes) -> dict[str, Any] | None:
    """A line of ours, or None."""
    try:
        entry: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
    except ValueError:
        return None
    return entry if isinstance(entry.get("prev"), str) and isinstance(entry.get("hash"), str) else None


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

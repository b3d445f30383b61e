"""One SQLite file for the state that must survive a restart: rows of (kind, key, value), committed together.

A stage yields its changed rows; the pipeline commits the rows of all stages in one transaction, so the offset of a
line and what the line did to every counter are on disk together or not at all. SQLite because it gives exactly that,
over SIGKILL and power cuts, in the standard library.

`MemoryStore` keeps the same promise about scrapes without a file: both hold the rows last committed, and a scrape
reads only those. So no scrape shows a value that a restart takes back, not even while the disk is full.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable  # noqa: TC003  (NamedTuple reads it)
from typing import TYPE_CHECKING, NamedTuple, Protocol

from agent_exporter.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

Row = tuple[str, str, bytes | None]
"""(kind, key, value); None deletes the row."""

FORMAT = 2
"""Version of the rows; 1 was never released. A file with a higher one comes from a newer version and is set aside."""
MIGRATIONS: dict[int, Callable[[sqlite3.Connection], None]] = {}
"""Migrations by the format they start from; each changes a file to the next one. Called in a transaction that sets
the new number, too, so a kill or an error leaves the file unchanged. A file of a format without a migration is set
aside.
"""
UNREADABLE = "unreadable"
"""The kind of the rows that were set aside; their keys hold the kind, the key and the second."""
MAX_UNREADABLE, MAX_UNREADABLE_BYTES = 1_000, 16 << 20
"""Rows that are set aside, and bytes of them. What comes after that is dropped, and counted."""

Rows = dict[str, dict[str, bytes]]
"""Kind to key to value."""


class RowKind(NamedTuple):
    """A kind of row. `read` takes a key and a value, and raises if a restart cannot use them."""

    read: Callable[[str, bytes], object]
    lost: str
    """The consequence if a row cannot be read, for the log."""


def row_key(*names: str) -> str:
    """The key of a row: different for any two lists of names, whatever characters they contain."""
    return "".join(f"{len(name)}:{name}" for name in names)


class Locked(Exception):  # noqa: N818  (reads as what it says)
    """Another process has this file open."""


class Unavailable(Exception):  # noqa: N818
    """The file cannot be written. Nothing is lost: the rows are kept for the next commit."""


def peek(path: Path, kind: str) -> list[tuple[str, bytes]]:
    """The rows of a kind in a file that another process may have open; none without a file. Raises Unavailable."""
    if not path.exists():
        return []
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)
        ) as database:
            [(version,)] = database.execute("PRAGMA user_version")
            if version != FORMAT:
                older = ": a start of this version migrates it" if version < FORMAT else ""
                raise Unavailable(f"{path}: format {version}, this version knows {FORMAT}{older}")
            return database.execute("SELECT key, value FROM row WHERE kind = ? ORDER BY rowid", (kind,)).fetchall()
    except sqlite3.Error as error:
        raise Unavailable(f"{path}: {error}") from error


class Store(Protocol):
    """Where rows are stored. `committed` has the rows that a restart would read, for the mirrored kinds."""

    committed: Rows
    durable: bool
    """Whether the rows survive the process."""
    unreadable: Mapping[str, int]
    """Number of rows set aside at opening, by kind."""
    unreadable_dropped: int
    """Number of these rows that were dropped for lack of room."""

    def rows(self, kind: str) -> Iterable[tuple[str, bytes]]:
        """All rows of a kind as they were at opening."""

    def get(self, kind: str, key: str) -> bytes | None:
        """One row, as committed."""

    def commit(self, rows: Iterable[Row]) -> None:
        """Commit all rows or none. Raises Unavailable; then these rows go with the next commit."""

    def close(self) -> None:
        """Close the file."""


class MemoryStore:
    """Rows in memory, lost when the process ends."""

    durable = False

    def __init__(self, mirror: Iterable[str] = ()) -> None:
        self.committed: Rows = {kind: {} for kind in mirror}
        self.unreadable: Mapping[str, int] = {}
        self.unreadable_dropped = 0

    def rows(self, kind: str) -> Iterable[tuple[str, bytes]]:  # noqa: ARG002
        """Nothing: there was no file."""
        return ()

    def get(self, kind: str, key: str) -> bytes | None:
        """A row of a mirrored kind."""
        return self.committed.get(kind, {}).get(key)

    def commit(self, rows: Iterable[Row]) -> None:
        """Keep the rows that scrapes are made of."""
        _apply(rows, self.committed)

    def close(self) -> None:
        """Nothing to let go of."""


class SQLiteStore:
    """Rows in a SQLite file. `mirror` names the kinds of which the committed rows are kept in memory as well.

    Raises Locked when another process has the file, Unavailable when the directory or disk refuses. A damaged or
    newer file is renamed, a line says so, and a new one begins: sources then start at their files' beginnings with
    all counters at zero, so that the totals come out right again.

    A row that its kind in `stored` cannot read is not shown by `rows`: the next commit makes it one of the kind
    UNREADABLE, in the transaction that has the count of it.
    """

    durable = True

    def __init__(self, path: Path, mirror: Iterable[str] = (), stored: Mapping[str, RowKind] | None = None) -> None:
        self.path = path
        self.set_aside: Path | None = None
        self.committed: Rows = {kind: {} for kind in mirror}
        self._stored = stored or {}
        self.unreadable: Mapping[str, int] = dict.fromkeys(self._stored, 0)
        self.unreadable_dropped = 0
        self._pending: dict[tuple[str, str], bytes | None] = {}
        try:
            if not path.parent.exists():
                path.parent.mkdir(parents=True)
                log.warning("the directory %s was not there: made for the state file", path.parent)
            self._lock = _lock(path)
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror or error}") from error
        try:
            self._database = self._open()
            self._set_rows_aside()
            for kind, rows in self.committed.items():
                rows.update(self.rows(kind))
        except (sqlite3.Error, OSError) as error:
            os.close(self._lock)
            raise Unavailable(f"{path}: {error}") from error

    def rows(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """All rows of a kind, but for those that were set aside."""
        for key, value in self._database.execute("SELECT key, value FROM row WHERE kind = ? ORDER BY rowid", (kind,)):
            if self._pending.get((kind, key), value) is not None:
                yield key, value

    def get(self, kind: str, key: str) -> bytes | None:
        """One row, or None."""
        found = self._database.execute("SELECT value FROM row WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return found[0] if found else None

    def commit(self, rows: Iterable[Row]) -> None:
        """Write the rows, and those that an earlier commit could not write, in one transaction."""
        pending = self._pending
        pending.update(((kind, key), value) for kind, key, value in rows)
        if not pending:
            return
        database = self._database
        try:
            database.execute("BEGIN IMMEDIATE")
            database.executemany(
                "INSERT INTO row (kind, key, value) VALUES (?, ?, ?)"
                " ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value",
                [(kind, key, value) for (kind, key), value in pending.items() if value is not None],
            )
            database.executemany(
                "DELETE FROM row WHERE kind = ? AND key = ?",
                [name for name, value in pending.items() if value is None],
            )
            database.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                database.execute("ROLLBACK")
            raise Unavailable(f"{self.path}: {error}") from error
        _apply(((kind, key, value) for (kind, key), value in pending.items()), self.committed)
        pending.clear()

    def close(self) -> None:
        """Let go of the file; what is pending is lost, as it would be by SIGKILL."""
        with contextlib.suppress(sqlite3.Error):
            self._database.close()
        os.close(self._lock)

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except _Unusable as error:
            self.set_aside = _set_aside(self.path, error.word)
            log.error(  # noqa: TRY400  (a sentence, not a traceback)
                "state file %s is %s (%s): set aside as %s; starting again, all counters at zero",
                self.path, error.word, error, self.set_aside.name,
            )  # fmt: skip
            return self._connect()

    def _set_rows_aside(self) -> None:
        """What its kind cannot read would end the start, or a scrape, each time anew."""
        database, stored = self._database, self._stored
        found: Counter[str] = Counter(self.unreadable)
        first: dict[str, str] = {}
        [(rows, size)] = database.execute(
            "SELECT count(*), coalesce(sum(length(value)), 0) FROM row WHERE kind = ?", (UNREADABLE,)
        )
        now = int(time.time())
        for kind, key, value, length in database.execute("SELECT kind, key, value, length(value) FROM row"):
            if kind not in stored:
                continue
            try:
                stored[kind].read(key, value)
            except Exception as error:  # noqa: BLE001  (whatever is wrong with a row, the others are taken up)
                found[kind] += 1
                first.setdefault(kind, f"{str(key)[:200]!r}: {type(error).__name__}: {printable(str(error))[:200]}")
                self._pending[kind, key] = None
                rows, size = rows + 1, size + length
                if rows > MAX_UNREADABLE or size > MAX_UNREADABLE_BYTES:
                    rows, size = rows - 1, size - length
                    self.unreadable_dropped += 1
                else:
                    self._pending[UNREADABLE, row_key(kind, key, str(now))] = value
        self.unreadable = found
        for kind, why in first.items():
            log.error(
                "state file %s: %d row(s) of the kind %r cannot be read, the first is %s. They are set aside, all else "
                "is taken up. For each of them: %s. They stay in the file; docs/operating.md says how to see them",
                self.path, found[kind], kind, why, stored[kind].lost,
            )  # fmt: skip

    def _connect(self) -> sqlite3.Connection:
        # For its owner alone: rows hold the first bytes of logs, and SQLite gives -wal and -shm the mode of the file.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        database = sqlite3.connect(self.path, isolation_level=None, timeout=1, check_same_thread=False)
        try:
            # FULL, not NORMAL: /v1/logs answers 200 after the commit, and that has to hold over a power cut too.
            # Five commits a second make the difference small.
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "journal_size_limit = 16777216"):
                database.execute(f"PRAGMA {pragma}")
            [(version,)] = database.execute("PRAGMA user_version")
            if version > FORMAT:
                raise _Unusable("newer", f"format {version}, this version knows {FORMAT}")
            if version and any(number not in MIGRATIONS for number in range(version, FORMAT)):
                raise _Unusable("older", f"format {version}, this version knows {FORMAT} and cannot migrate it")
            [(verdict,), *_] = database.execute("PRAGMA quick_check(1)")
            if verdict != "ok":
                raise _Unusable("damaged", verdict)
            database.execute(
                "CREATE TABLE IF NOT EXISTS row"
                " (kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (kind, key))"
            )
            database.execute("SELECT kind, key, value FROM row LIMIT 1").fetchall()
            if version != FORMAT:
                _migrate(database, version or FORMAT)  # a file of format 0 is a new one
        except sqlite3.DatabaseError as error:
            database.close()
            # An OperationalError is the disk's or the directory's fault (full, read-only), unless a table is not ours.
            if isinstance(error, sqlite3.OperationalError) and "no such column" not in str(error):
                raise
            raise _Unusable("damaged", str(error)) from error
        except _Unusable:
            database.close()
            raise
        return database


def _migrate(database: sqlite3.Connection, version: int) -> None:
    """Make a file of an older format one of FORMAT, in one transaction. Raises _Unusable if a migration fails."""
    database.execute("BEGIN IMMEDIATE")
    try:
        for number in range(version, FORMAT):
            MIGRATIONS[number](database)
            log.info("the state file was migrated from format %d to %d", number, number + 1)
        database.execute(f"PRAGMA user_version = {FORMAT}")
        database.execute("COMMIT")
    except Exception as error:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError):  # the disk's fault: it is tried again
            raise
        raise _Unusable("older", f"format {version}, and its migration to {FORMAT} failed: {error!r}") from error


class _Unusable(Exception):  # noqa: N818
    def __init__(self, word: str, why: str) -> None:
        super().__init__(why)
        self.word = word


def _apply(rows: Iterable[Row], committed: Mapping[str, dict[str, bytes]]) -> None:
    for kind, key, value in rows:
        if kind in committed:
            if value is None:
                committed[kind].pop(key, None)
            else:
                committed[kind][key] = value


def _lock(path: Path) -> int:
    """A lock that the kernel drops with the process, however it ends. The file stays: removing it would race."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise Locked(f"{path} is in use by another agent-exporter (process {holder}): one instance per file") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor


def _set_aside(path: Path, word: str) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.{word}-{stamp}")
    for suffix in ("", "-wal", "-shm"):
        source = path.with_name(path.name + suffix)
        if source.exists():
            source.rename(aside.with_name(aside.name + suffix))
    return aside

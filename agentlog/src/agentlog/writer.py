"""Writes lines: formatted in the calling thread, written by a thread of its own.

An agent never waits for its log. A line goes into a queue; a slow reader of a pipe, or a full disk, costs lines but not
time: beyond MAX_QUEUED the newest lines are dropped and counted, and the next line that finds room has the number so
far, in `metadata.lines_dropped`.

All loggers of a process that write to the same place share one writer, so that lines stay whole.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import sys
import threading
import weakref
from io import TextIOWrapper
from json import JSONEncoder
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TextIO

from pythonjsonlogger.json import JsonFormatter

MAX_QUEUED = 16 * 2**20
"""Bytes: 16 s of an agent with a thousand actions a second, at a kilobyte a line."""
MAX_AT_ONCE = 1_000
"""Lines in one write."""
IDLE = 10.0
"""Seconds without a line until the thread ends and the file is closed; the next line starts both again."""
PATIENCE = 2.0
"""Seconds that `flush`, and so the end of the program, waits for queued lines."""


class _Place(Protocol):
    """Where the writer writes."""

    def write(self, lines: str) -> None:
        """Write all of it, however long that takes. Raises OSError or ValueError if that fails."""

    def close(self) -> None:
        """Close the place until the next write."""


class Writer(logging.Handler):
    """The handler for one place. `written_to` finds or makes it."""

    def __init__(self, place: _Place) -> None:
        super().__init__()
        # Compact, and one encoder for all lines: json.dumps would make one for each. The named field comes first.
        encode = JSONEncoder(separators=(",", ":")).encode
        self.setFormatter(JsonFormatter("%(timestamp)s", json_serializer=lambda line, **_: encode(line)))
        self._place = place
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        # Only one thread writes each count (the lock's holder, or the worker), so reading them needs no lock.
        self._lines: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._taken = 0
        self._done = 0
        self._refused = 0
        self._lost = 0
        self._reported = 0
        self._complained = False

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record whose message is the line's fields. Never raises, never waits for the place."""
        if self._taken - self._done > MAX_QUEUED:
            self._refused += 1
            return
        try:
            dropped = self._refused + self._lost
            fields: dict[str, Any] = record.msg  # type: ignore[assignment]
            # All so far, not those since the last report: the line of that report may be lost itself.
            if dropped != self._reported:
                fields["metadata"] = {**fields.get("metadata", {}), "lines_dropped": dropped}
            line = self.format(record) + "\n"
        except Exception:  # noqa: BLE001  (whatever it is, the agent must not fail for it)
            self._refused += 1
            return
        self._reported = dropped
        self._taken += len(line)
        self._lines.put(line)
        if self._thread is None:
            self._start()

    def flush(self) -> None:
        """Wait until all queued lines are written, at most PATIENCE."""
        if self._taken == self._done:
            return
        done = threading.Event()
        self._lines.put(done)
        if self._thread is not None:
            done.wait(PATIENCE)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="agentlog", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is ending and starts no more threads
            self._thread = None
            self._write_queued(self._lines.get())
        _flush_at_exit_of_a_worker()

    def _run(self) -> None:
        while True:
            try:
                self._write_queued(self._lines.get(timeout=IDLE))
            except Empty:  # noqa: PERF203  (once in ten seconds)
                if self._ended():
                    return

    def _ended(self) -> bool:
        self.acquire()  # no line is added in between
        try:
            if not self._lines.empty():
                return False
            self._thread = None
            self._place.close()
            return True
        finally:
            self.release()

    def _write_queued(self, item: str | threading.Event) -> None:
        """Write what is queued as one text."""
        lines: list[str] = []
        waiting: list[threading.Event] = []
        with contextlib.suppress(Empty):
            while True:
                if isinstance(item, str):
                    lines.append(item)
                else:
                    waiting.append(item)
                if len(lines) == MAX_AT_ONCE:
                    break
                item = self._lines.get_nowait()
        text = "".join(lines)
        try:
            if text:
                self._place.write(text)
        except Exception as error:  # noqa: BLE001  (a stream may be anything)
            self._lost += len(lines)
            self._complain(error)
        self._done += len(text)
        for event in waiting:
            event.set()

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            with contextlib.suppress(Exception):
                sys.stderr.write(f"agentlog: lines are lost: {type(error).__name__}: {error}\n")

    def forked(self) -> None:
        """In a child process: the parent writes its queued lines, and its thread does not exist here."""
        self._begin()


class File:
    """A file to append to. If it is moved away, makes a new one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._torn = False
        self._open()  # now, while a wrong path can still raise

    def write(self, lines: str) -> None:
        if self._file != -1 and self._moved():
            self.close()
        if self._file == -1:
            self._open()
        if self._torn:
            lines = "\n" + lines
        try:
            _write(self._file, lines)
        except OSError:
            self._torn = True  # after half a line, start a new one
            raise
        self._torn = False

    def close(self) -> None:
        if self._file != -1:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)

    def _moved(self) -> bool:
        try:
            return not os.path.samestat(self._path.stat(), os.fstat(self._file))
        except OSError:
            return True

    def __del__(self) -> None:
        self.close()


class Stream:
    """Standard output, or any other text stream.

    Writes directly to the descriptor, if there is one: the stream's own lock, held by a thread that waits for a full
    pipe, would keep the program from ending. What the agent itself prints goes first. Without buffering
    (PYTHONUNBUFFERED) `print` writes a text and its newline separately, and our lines could come between; so such a
    stream is set to write whole lines. Only a text of several lines, printed by another thread at the same moment, can
    still be cut.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        try:
            self._file: int | None = stream.fileno()
        except (OSError, ValueError, AttributeError):
            self._file = None
        if isinstance(stream, TextIOWrapper) and stream.write_through:
            stream.reconfigure(line_buffering=True, write_through=False)

    def write(self, lines: str) -> None:
        if self._file is None:
            self._stream.write(lines)
            self._stream.flush()
        else:
            if not getattr(self._stream, "line_buffering", False):
                self._stream.flush()
            _write(self._file, lines)

    def close(self) -> None:
        """Does not close the stream, which belongs to the program."""


def written_to(place: TextIO | Path) -> Writer:
    """The writer of a path or a stream. Raises OSError if the file cannot be opened."""
    key = str(place.resolve()) if isinstance(place, Path) else id(place)
    with _lock:
        writer = _by_place.get(key)
        if writer is None:
            writer = _by_place[key] = Writer(File(place) if isinstance(place, Path) else Stream(place))
        return writer


def _write(file: int, lines: str) -> None:
    left = memoryview(lines.encode())
    while left:
        try:
            left = left[os.write(file, left) :]
        except BlockingIOError:  # noqa: PERF203  (somebody made it non-blocking)
            select.select([], [file], [])


_lock = threading.Lock()
# An entry lives as long as its writer, and that as long as a logger or the thread needs it; so does the stream's id.
_by_place: weakref.WeakValueDictionary[str | int, Writer] = weakref.WeakValueDictionary()
_all: weakref.WeakSet[Writer] = weakref.WeakSet()


_finalizing = False


def _flush_at_exit_of_a_worker() -> None:
    """A process of multiprocessing ends without logging's flush at exit, but it runs its own finalizers."""
    global _finalizing  # noqa: PLW0603  (once a process)
    processes = sys.modules.get("multiprocessing.util")
    if processes is not None and not _finalizing:
        _finalizing = True
        processes.Finalize(None, _flush_all, exitpriority=0)


def _flush_all() -> None:
    for writer in list(_all):
        writer.flush()


def _forked() -> None:
    global _lock, _finalizing  # noqa: PLW0603  (another thread may have held it)
    _lock = threading.Lock()
    _finalizing = False
    for writer in list(_all):
        writer.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)

"""Messages, log lines and progress on standard error."""

from __future__ import annotations

import logging
import sys
import threading
import time
from contextlib import contextmanager, suppress
from queue import Full, Queue
from typing import TYPE_CHECKING

from agent_exporter.printer import write_all
from agent_exporter.text import plain, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_exporter.explain.log import Reading


MAX_WAITING = 10_000
"""Messages that wait for the reader of standard error: some 5 MB."""
GOODBYE = 1.0
"""Seconds that the reader of standard error gets at the end."""


def say(sentence: str) -> None:
    """A message of ours."""
    print(f"agent-exporter: {plain(sentence)}", file=sys.stderr)


def log_to_stderr() -> None:
    """From INFO on, a line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("tornado").setLevel(logging.CRITICAL)  # what a client does wrong is counted, not logged


@contextmanager
def logging_in_background() -> Iterator[None]:
    """Write standard error in a thread of its own: whoever reads it may stall, and what logs must not wait."""
    root = logging.getLogger()
    ours = [handler for handler in root.handlers if isinstance(handler.formatter, _OneLine)]
    background = _Background(sys.stderr.fileno(), ours[0].formatter) if ours else None
    if background is None:
        yield
        return
    for handler in ours:
        root.removeHandler(handler)
    root.addHandler(background)
    try:
        yield
    finally:
        root.removeHandler(background)
        background.wait(GOODBYE)
        for handler in ours:
            root.addHandler(handler)


class _Background(logging.Handler):
    """Drops messages while MAX_WAITING wait, and says how many once there is room.

    Not the library's QueueListener: its thread holds the lock of a handler and of the stream while it waits for the
    reader, and the interpreter waits for both at its end.
    """

    def __init__(self, descriptor: int, formatter: logging.Formatter | None) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._descriptor = descriptor
        self._waiting: Queue[bytes] = Queue(MAX_WAITING)
        self._dropped = 0
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Never waits."""
        if self._dropped and self._waiting.qsize() <= MAX_WAITING // 2:
            text = f"{self._dropped} messages were dropped: standard error was not read"
            self._dropped = 0
            self.emit(logging.LogRecord(record.name, logging.WARNING, "", 0, text, None, None))
        try:
            self._waiting.put_nowait(self.format(record).encode(errors="backslashreplace") + b"\n")
        except Full:
            self._dropped += 1

    def wait(self, seconds: float) -> None:
        """Wait until all messages are written, but no longer than this."""
        deadline = time.monotonic() + seconds
        with self._waiting.all_tasks_done:
            while self._waiting.unfinished_tasks and (left := deadline - time.monotonic()) > 0:
                self._waiting.all_tasks_done.wait(left)

    def _run(self) -> None:
        while True:
            message = self._waiting.get()
            with suppress(OSError):  # the reader has gone
                write_all(self._descriptor, message)
            self._waiting.task_done()


class _OneLine(logging.Formatter):
    """What a log line or an agent's answer brings can neither pass for a message of ours nor steer a terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (logging's name)
        return visible(super().formatMessage(record))


def encodable(line: str) -> str:
    """The line with question marks for what standard output cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, "replace").decode(encoding)


class Progress:
    """How far a long read is: on a terminal, and only once it takes over a second."""

    def __init__(self) -> None:
        self._started = self._shown = time.monotonic()
        self._shows = sys.stderr.isatty()
        self._drawn = False

    def show(self, source: Reading) -> None:
        """Told after each block of a source."""
        if not self._shows:
            return
        done, total = source.progress()
        share = f" {100 * done / total:3.0f} %" if total else ""
        rate = done / 1e6 / max(0.001, time.monotonic() - self._started)
        self.draw(f"{plain(source.name)}{share}  {done / 1e6:,.0f} MB, {rate:,.0f} MB/s")

    def draw(self, text: str) -> None:
        """Show a text, five times a second at most."""
        now = time.monotonic()
        if not self._shows or now - self._started < 1 or now - self._shown < 0.2:
            return
        self._shown = now
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
        self._drawn = True

    def clear(self) -> None:
        """Leave no trace on the terminal."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False

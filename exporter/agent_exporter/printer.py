"""Writes to standard output in a thread of its own: whoever reads it may stall, and the pipeline must not."""

from __future__ import annotations

import os
import select
import threading
import time


def write_all(descriptor: int, data: bytes) -> None:
    """Wait until the reader has taken it all. Raises OSError where there is none."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # somebody shares the descriptor, and has made it so
            select.select([], [descriptor], [])


class Printer:
    """Prints one batch at a time. Call it only while it is not `busy`; nothing else may write to the descriptor."""

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._batch = b""
        self._since = 0.0
        self._given = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None

    def __call__(self, batch: bytes) -> None:
        """Begin to print."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="print", daemon=True)
            self._thread.start()
        self._batch, self._since = batch, time.monotonic()
        self._idle.clear()
        self._given.set()

    def busy(self) -> bool:
        """Whether a batch is not printed to its end."""
        return not self._idle.is_set()

    def stalled(self) -> float:
        """Seconds for which a batch has been waiting for a reader; 0 if none does. From any thread."""
        return time.monotonic() - self._since if self.busy() else 0.0

    def wait(self, seconds: float) -> bool:
        """Wait for the end of a batch. False if it has not come by then."""
        return self._idle.wait(seconds)

    def _run(self) -> None:
        while True:
            self._given.wait()
            self._given.clear()
            try:
                write_all(self._descriptor, self._batch)
            except OSError:  # the reader has gone: findings are in the metrics and on the page still
                pass
            finally:
                self._idle.set()

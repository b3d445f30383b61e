"""A sign of life every few seconds: `working`, with the current action, while sessions are open; else `idle`.

with log.heartbeats(every=10): ...
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from agentlog import settings

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from agentlog.logger import AgentLogger

HEARTBEAT = "heartbeat"
SHORTEST = 0.001
"""Seconds between two heartbeats."""


class Heartbeats:
    """Made by `AgentLogger.heartbeats`. The thread is a daemon, so the program can end.

    A child process made by `fork` has no such thread until it starts one.
    """

    def __init__(self, log: AgentLogger, every: float) -> None:
        self._log = log
        self._every = settings.number(every, "every", SHORTEST, threading.TIMEOUT_MAX)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """The first heartbeat comes at once."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._run, name="agentlog heartbeats", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """Stop the heartbeats."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def beat(self) -> None:
        """Send one now."""
        detail = self._log.at_work_on
        self._log.heartbeat("idle" if detail is None else "working", detail)

    def _run(self) -> None:
        self.beat()
        while not self._stop.wait(self._every):
            self.beat()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

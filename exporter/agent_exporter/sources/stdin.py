"""Standard input: a pipe, a terminal or a file. It cannot be read again, so it has no state."""

from __future__ import annotations

import fcntl
import logging
import os
import select
import termios
from array import array
from typing import TYPE_CHECKING

from agent_exporter.formats import Choice
from agent_exporter.lines import BLOCK, Batch, Origin
from agent_exporter.sources import Source
from agent_exporter.sources.splitting import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


class StdinSource(Source):
    """Reads what is available and never waits. The end, or an error (a terminal that hung up), finishes it."""

    def __init__(self, name: str = "-", fd: int = 0, *, announce: bool = False, choice: Choice | None = None) -> None:
        self.name = name
        self._fd = fd
        self._announce = announce
        self._bytes_read = 0
        choice = choice or Choice()
        self.memory = choice.memory
        self._stream = Stream(choice.new())
        self.origins = ((0, Origin(path="-")),)

    def backlog(self, counts: Callable[[Origin], bool]) -> Callable[[], bool] | None:
        if self.finished or not counts(self.origins[0][1]):
            return None
        unread = self.unread()
        until = self._bytes_read + unread
        return (lambda: self.finished or self._bytes_read >= until) if unread else None

    def unread(self) -> int:
        size = array("i", [0])
        try:
            fcntl.ioctl(self._fd, termios.FIONREAD, size)
        except OSError:  # /dev/null
            return 0
        return size[0]

    def read(self) -> Batch | None:
        if self.finished:
            return None
        try:
            if not select.select([self._fd], [], [], 0)[0]:
                return None
            data = os.read(self._fd, BLOCK)
        except BlockingIOError:  # another process has read it
            return None
        except OSError as error:
            log.warning("%s: %s; reading ends here", self.name, error.strerror)
            data = b""
        self._bytes_read += len(data)
        if data:
            return self._stream.feed(data)
        self.finished = True
        if self._announce:
            log.info("standard input has ended; /metrics is served on until SIGTERM or Ctrl-C")
        return self._stream.end()

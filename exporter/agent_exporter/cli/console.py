"""What is told beside a command's output: messages and log lines on standard error, and how far a long read is."""

from __future__ import annotations

import logging
import sys
import time
from typing import TYPE_CHECKING

from agent_exporter.text import plain, visible

if TYPE_CHECKING:
    from agent_exporter.explain.log import Reading


def say(sentence: str) -> None:
    """A message of ours."""
    print(f"agent-exporter: {plain(sentence)}", file=sys.stderr)


def log_to_stderr() -> None:
    """From INFO on, a line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S%z"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("tornado").setLevel(logging.CRITICAL)  # what a client does wrong is counted, not logged


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

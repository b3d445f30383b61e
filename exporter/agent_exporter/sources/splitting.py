"""From blocks of bytes to lines: the same for files, standard input and what is packed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_exporter import formats
from agent_exporter.lines import MAX_LINE, Batch, join

if TYPE_CHECKING:
    from agent_exporter.formats import Format


class Splitter:
    """Blocks of at most MAX_LINE bytes in, complete lines out, less their LF or CRLF. A longer line is never held."""

    def __init__(self) -> None:
        self.held = bytearray()
        """The start of a line whose end has not come yet."""
        self.skipping = False
        """Inside a line that is too long, and already counted."""

    def feed(self, data: bytes) -> Batch:
        lines = data.split(b"\n")
        rest = lines.pop()
        too_long = 0
        if lines:
            if self.held:
                lines[0] = bytes(self.held + lines[0])
                self.held.clear()
            # Only the first line can end in a CR that an earlier block brought, be skipped, or be too long: the
            # others lie within one block.
            if b"\r" in data or lines[0].endswith(b"\r"):  # a search for CR LF would stop at every LF: 20 times slower
                lines = [line.removesuffix(b"\r") for line in lines]
            if self.skipping:
                self.skipping = False
                del lines[0]
            elif len(lines[0]) > MAX_LINE:
                too_long += 1
                del lines[0]
        if not self.skipping:
            self.held += rest
            if len(self.held) > MAX_LINE + 1:  # one more, as it may be a CR
                self.held.clear()
                self.skipping = True
                too_long += 1
        return Batch(lines, too_long)

    def give_back(self) -> int:
        """Forget the unfinished line; its length in bytes, for the caller that will read it again."""
        length = len(self.held)
        self.held.clear()
        return length

    def end(self) -> Batch:
        """There is no more: an unterminated last line counts as a line."""
        line = bytes(self.held).removesuffix(b"\r")
        self.held.clear()
        self.skipping = False
        return Batch([], 1) if len(line) > MAX_LINE else Batch([line] if line else [])


class Stream:
    """From blocks of bytes to records, for what is read once from start to end."""

    def __init__(self, splitter: Splitter | None = None, format: Format | None = None) -> None:  # noqa: A002
        self._splitter = splitter or Splitter()
        self._format = format or formats.new()

    def feed(self, data: bytes) -> Batch:
        lines, too_long = self._splitter.feed(data)
        return join(Batch([], too_long), self._format.feed(lines))

    def end(self) -> Batch:
        lines, too_long = self._splitter.end()
        return join(Batch([], too_long), self._format.feed(lines), self._format.end())

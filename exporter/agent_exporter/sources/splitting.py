"""From blocks of bytes to lines, for files, standard input and compressed files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_exporter import formats
from agent_exporter.lines import MAX_LINE, Batch, join

if TYPE_CHECKING:
    from agent_exporter.formats import ChosenFormat


class Splitter:
    """Blocks of at most `max_line` bytes in, complete lines out, without their LF or CRLF. Never holds a longer line.

    Drops any number of NUL bytes before a line, without holding them: a copytruncate under a writer without O_APPEND
    leaves a hole of the old file's size, and a crash may leave a block of NULs.
    """

    def __init__(self) -> None:
        self.max_line = MAX_LINE
        """Bytes; that of the stream's format."""
        self.held = bytearray()
        """The start of an unfinished line."""
        self.skipping = False
        """Whether it is inside a line that is too long and already counted."""
        self.nul_bytes = 0
        """Number of NULs dropped before the unfinished line."""

    def feed(self, data: bytes) -> Batch:
        lines = data.split(b"\n")
        nul_bytes = self._drop_nuls(lines) if self.nul_bytes or b"\0" in data else 0
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
            elif len(lines[0]) > self.max_line:
                too_long += 1
                del lines[0]
        if not self.skipping:
            self.held += rest
            if len(self.held) > self.max_line + 1:  # plus one, which may be a CR
                self.held.clear()
                self.skipping = True
                too_long += 1
        return Batch(lines, too_long, nul_bytes)

    def _drop_nuls(self, parts: list[bytes]) -> int:
        """Remove the NULs before each line that begins in `parts`. Returns the bytes dropped before complete lines."""
        dropped = 0
        for number, part in enumerate(parts):
            if number or not (self.held or self.skipping):
                parts[number] = part.lstrip(b"\0")
                self.nul_bytes += len(part) - len(parts[number])
            if number < len(parts) - 1:
                dropped += self.nul_bytes
                self.nul_bytes = 0
        return dropped

    def give_back(self) -> int:
        """Forget the unfinished line. Returns its length with the NULs before it, for a caller that reads it again."""
        length = self.nul_bytes + len(self.held)
        self.nul_bytes = 0
        self.held.clear()
        return length

    def end(self) -> Batch:
        """The end of the input: an unterminated last line counts as a line."""
        line = bytes(self.held).removesuffix(b"\r")
        nul_bytes, self.nul_bytes = self.nul_bytes, 0
        self.held.clear()
        self.skipping = False
        return Batch([], 1, nul_bytes) if len(line) > self.max_line else Batch([line] if line else [], 0, nul_bytes)


class Stream:
    """From blocks of bytes to records, for what is read once from start to end."""

    def __init__(self, format_: ChosenFormat | None = None, splitter: Splitter | None = None) -> None:
        self._splitter = splitter or Splitter()
        self._format = format_ or formats.Choice().new()

    def feed(self, data: bytes) -> Batch:
        splitter, format_ = self._splitter, self._format
        if format_.max_line != splitter.max_line:
            splitter.max_line = format_.max_line
        split = splitter.feed(data)
        return format_.feed(split.lines).counting(split)

    def end(self) -> Batch:
        split = self._splitter.end()
        return join(self._format.feed(split.lines), self._format.end()).counting(split)

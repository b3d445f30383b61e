"""From blocks of bytes to records: physical lines, taken out of what a container runtime wraps around them.

    plain    {"timestamp": ...}
    docker   {"log":"{\\"timestamp\\": ...}\\n","stream":"stdout","time":"..."}
    CRI      2026-03-18T09:15:32.441234567Z stdout F {"timestamp": ...}

Both runtimes cut long output into pieces (docker at 16 KiB: `log` without a newline goes on in the next line of its
stream; CRI says P for part and F for full). Neither class here holds more than MAX_LINE of an unfinished record per
stream.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import msgspec

from agent_exporter.sources import MAX_LINE, Batch

if TYPE_CHECKING:
    from collections.abc import Iterable

BOM = b"\xef\xbb\xbf"
CRI = re.compile(rb"\d{4}-\d\d-\d\dT\S+ (stdout|stderr) ([PF])(?::\S*)?(?: (.*))?", re.DOTALL)

Mode = Literal["", "plain", "docker", "cri"]


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


class DockerLine(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A line of docker's json-file driver. Any other key, and the line is an agent's own record."""

    log: str
    stream: str = ""
    time: msgspec.Raw = msgspec.Raw()
    attrs: msgspec.Raw = msgspec.Raw()


_docker = msgspec.json.Decoder(DockerLine)


class Unwrapper:
    """Lines of one file in, records out. What the file is shows in its first line and holds for the rest of it.

    A line that is not what the first one promised is handed on as it is, to be rejected with a reason.
    """

    def __init__(self, mode: Mode = "", pieces: dict[str, bytes | None] | None = None) -> None:
        self.mode: Mode = mode
        self.pieces: dict[str, bytes | None] = pieces or {}
        """The unfinished record of each stream; None for one that grew too long, and is dropped at its end."""

    def feed(self, lines: Iterable[bytes]) -> Batch:
        records = list(filter(bytes.strip, lines))  # strip copies nothing when there is nothing to strip
        if not self.mode and records:
            records[0] = records[0].removeprefix(BOM)
            if not records[0].strip():
                del records[0]
            self.mode = _detect(records[0]) if records else ""
        if self.mode in ("", "plain"):
            return Batch(records)
        return self._unwrapped(records)

    def end(self) -> Batch:
        """There is no more: pieces without an end are handed on, to be rejected with a reason."""
        left = list(self.pieces.values())
        self.pieces.clear()
        return Batch([piece for piece in left if piece and piece.strip()], left.count(None))

    def _unwrapped(self, lines: list[bytes]) -> Batch:
        records = []
        too_long = 0
        parse = _parse_docker if self.mode == "docker" else _parse_cri
        for line in lines:
            parsed = parse(line)
            if parsed is None:
                records.append(line)
                continue
            stream, text, ends = parsed
            piece = self.pieces.pop(stream, b"")
            whole = None if piece is None or len(piece) + len(text) > MAX_LINE else piece + text
            if not ends:
                self.pieces[stream] = whole
            elif whole is None:
                too_long += 1
            elif whole.strip():
                records.append(whole)
        return Batch(records, too_long)

    def dump(self) -> bytes:
        return msgspec.msgpack.encode((self.mode, self.pieces))

    @classmethod
    def load(cls, data: bytes) -> Unwrapper:
        """What `dump` gave. Raises msgspec.MsgspecError for anything else."""
        return cls(*_state.decode(data))


_state: msgspec.msgpack.Decoder[tuple[Mode, dict[str, bytes | None]]] = msgspec.msgpack.Decoder(
    tuple[Mode, dict[str, bytes | None]]
)


def _detect(line: bytes) -> Mode:
    if _parse_docker(line):
        return "docker"
    return "cri" if _parse_cri(line) else "plain"


# Both give the stream, the text and whether the record ends here; None for a line that is something else. All
# streams but stderr are taken for one, so that made-up names cannot fill the memory.


def _parse_docker(line: bytes) -> tuple[str, bytes, bool] | None:
    try:
        docker = _docker.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    text = docker.log.encode()
    ends = text.endswith(b"\n")
    return (
        "stderr" if docker.stream == "stderr" else "stdout",
        text.removesuffix(b"\n").removesuffix(b"\r") if ends else text,
        ends,
    )


def _parse_cri(line: bytes) -> tuple[str, bytes, bool] | None:
    match = CRI.fullmatch(line)
    if match is None:
        return None
    stream, tag, text = match.groups()
    return stream.decode(), text or b"", tag == b"F"


class Stream:
    """Splitter and Unwrapper in a row, for what is read once from start to end."""

    def __init__(self, splitter: Splitter | None = None, unwrapper: Unwrapper | None = None) -> None:
        self._splitter = splitter or Splitter()
        self._unwrapper = unwrapper or Unwrapper()

    def feed(self, data: bytes) -> Batch:
        lines, too_long = self._splitter.feed(data)
        records, more = self._unwrapper.feed(lines)
        return Batch(records, too_long + more)

    def end(self) -> Batch:
        lines, too_long = self._splitter.end()
        last, a = self._unwrapper.feed(lines)
        rest, b = self._unwrapper.end()
        return Batch(last + rest, too_long + a + b)

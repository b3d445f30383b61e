"""What container runtimes wrap around the lines of a program, and lines that nothing is wrapped around.

    plain    {"timestamp": ...}
    docker   {"log":"{\\"timestamp\\": ...}\\n","stream":"stdout","time":"..."}
    CRI      2026-03-18T09:15:32.441234567Z stdout F {"timestamp": ...}

Both runtimes cut long output into pieces. Docker cuts at 16 KiB: `log` without a newline continues in the next line of
its stream. CRI marks pieces with P (part) and the last one with F (full). At most MAX_LINE bytes of an unfinished
record are held per stream.
"""

from __future__ import annotations

import re
from itertools import repeat
from typing import TYPE_CHECKING

import msgspec

from agent_exporter.lines import MAX_LINE, Batch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from mmap import mmap

BOM = b"\xef\xbb\xbf"
CRI = re.compile(rb"\d{4}-\d\d-\d\dT\S+ (stdout|stderr) ([PF])(?::\S*)?(?: (.*))?", re.DOTALL)
BEGINNINGS = (b'{"log"', b'{ "log"', b'{"stream"', b'{"time"', b'{"attrs"', b"20", BOM)
"""How a wrapped line may begin, and a file: the lines of the hot path begin with none of these."""
_CRI_MARKS = (b" stdout F", b" stdout P", b" stderr F", b" stderr P")


class DockerLine(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A line of docker's json-file driver. Any other key, and the line is an agent's own record."""

    log: str
    stream: str = ""
    time: msgspec.Raw = msgspec.Raw()
    attrs: msgspec.Raw = msgspec.Raw()


_docker = msgspec.json.Decoder(DockerLine)
_any = msgspec.json.Decoder(msgspec.Raw)


class Dumped(msgspec.Struct, array_like=True):
    """What a ContainerFormat remembers, in a row of state."""

    pieces: dict[str, bytes | None]


class ContainerFormat:
    """Wrapped or plain lines in, records out. Each line is looked at by itself.

    A banner, or the rest of a line that was cut, may stand before wrapped lines; and one file may hold the output of
    two runtimes. A line that is not wrapped is passed on as it is.
    """

    def __init__(self, pieces: dict[str, bytes | None] | None = None) -> None:
        self.pieces: dict[str, bytes | None] = pieces or {}
        """The unfinished record of each output stream; None for one that is too long, and is dropped at its end."""
        self.passes = True

    @property
    def unfinished(self) -> Collection[str]:
        return self.pieces.keys()

    @property
    def held(self) -> int:
        return sum(len(piece) for piece in self.pieces.values() if piece)

    def feed(self, lines: Iterable[bytes]) -> Batch:
        records = list(filter(bytes.strip, lines))  # strip copies nothing when there is nothing to strip
        if not any(map(bytes.startswith, records, repeat(BEGINNINGS))):
            return Batch(records)
        return self._unwrapped(records)

    def end(self) -> Batch:
        left = list(self.pieces.values())
        self.pieces.clear()
        return Batch([piece for piece in left if piece and piece.strip()], left.count(None))

    def _unwrapped(self, lines: list[bytes]) -> Batch:
        records = []
        too_long = nul_bytes = 0
        for written in lines:
            line = written.removeprefix(BOM)
            parsed = _parse(line) if line.startswith(BEGINNINGS) else None
            if parsed is None:
                if line.strip():
                    records.append(line)
                continue
            self.passes = False
            stream, text, ends = parsed
            if not ends and _is_whole(text):
                piece = self.pieces.pop(stream, b"")
                records += [piece] if piece and piece.strip() else []
                too_long += piece is None
                records.append(text)
                continue
            piece = self.pieces.pop(stream, b"")
            whole = None if piece is None or len(piece) + len(text) > MAX_LINE else piece + text
            if not ends:
                self.pieces[stream] = whole
            elif whole is None:
                too_long += 1
            else:
                record = whole.lstrip(b"\0") if whole.startswith(b"\0") else whole
                nul_bytes += len(whole) - len(record)
                if record.strip():
                    records.append(record)
        return Batch(records, too_long, nul_bytes)

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(Dumped(self.pieces))

    @classmethod
    def load(cls, data: bytes) -> ContainerFormat:
        return cls(msgspec.msgpack.decode(data, type=Dumped).pieces)

    def take_over(self, before: ContainerFormat) -> None:
        self.pieces.update(before.pieces)
        before.pieces.clear()


def may_hold_wrapped(data: bytes | mmap) -> bool:
    """Whether a file may hold wrapped lines anywhere. True too for plain lines whose content looks like one."""
    if data[: len(BOM)] == BOM:
        return True
    marks = (*(b"\n" + begin for begin in BEGINNINGS if begin.startswith(b"{")), *_CRI_MARKS)
    first = data[: data.find(b"\n") + 1 or MAX_LINE].rstrip()
    return any(data.find(mark) >= 0 for mark in marks) or _parse(first) is not None


def _is_whole(text: bytes) -> bool:
    """Whether a text that docker has not ended is a record by itself: shippers take the newline off."""
    if not (text.startswith(b"{") and text.endswith(b"}")):
        return False
    try:
        _any.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


# These give the stream, the text and whether the record ends here; None for a line that is something else. All
# streams but stderr are taken for one, so that made-up names cannot fill the memory.


def _parse(line: bytes) -> tuple[str, bytes, bool] | None:
    return _parse_docker(line) if line.startswith(b"{") else _parse_cri(line)


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
    return f"cri {stream.decode()}", text or b"", tag == b"F"

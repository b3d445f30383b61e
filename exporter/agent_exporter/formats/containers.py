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
from typing import TYPE_CHECKING, Literal

import msgspec

from agent_exporter.lines import MAX_LINE, Batch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

BOM = b"\xef\xbb\xbf"
CRI = re.compile(rb"\d{4}-\d\d-\d\dT\S+ (stdout|stderr) ([PF])(?::\S*)?(?: (.*))?", re.DOTALL)

Mode = Literal["", "plain", "docker", "cri"]


class DockerLine(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A line of docker's json-file driver. Any other key, and the line is an agent's own record."""

    log: str
    stream: str = ""
    time: msgspec.Raw = msgspec.Raw()
    attrs: msgspec.Raw = msgspec.Raw()


_docker = msgspec.json.Decoder(DockerLine)


class Dumped(msgspec.Struct, array_like=True):
    """What a ContainerFormat remembers, in a row of state."""

    mode: Mode
    pieces: dict[str, bytes | None]


class ContainerFormat:
    """Wrapped or plain lines in, records out. The first line of a stream decides how all of it is wrapped.

    A line that is not wrapped as the first one was is handed on as it is, to be rejected with a reason.
    """

    def __init__(self, mode: Mode = "", pieces: dict[str, bytes | None] | None = None) -> None:
        self.mode: Mode = mode
        self.pieces: dict[str, bytes | None] = pieces or {}
        """The unfinished record of each output stream; None for one that is too long, and is dropped at its end."""

    @classmethod
    def detect(cls, line: bytes) -> bool:
        return _detect(line) != "plain"

    @property
    def passes(self) -> bool:
        return self.mode in {"", "plain"}

    @property
    def unfinished(self) -> Collection[str]:
        return self.pieces.keys()

    @property
    def held(self) -> int:
        return sum(len(piece) for piece in self.pieces.values() if piece)

    def feed(self, lines: Iterable[bytes]) -> Batch:
        records = list(filter(bytes.strip, lines))  # strip copies nothing when there is nothing to strip
        if not self.mode and records:
            records[0] = records[0].removeprefix(BOM)
            if not records[0].strip():
                del records[0]
            self.mode = _detect(records[0]) if records else ""
        if self.passes:
            return Batch(records)
        return self._unwrapped(records)

    def end(self) -> Batch:
        left = list(self.pieces.values())
        self.pieces.clear()
        return Batch([piece for piece in left if piece and piece.strip()], left.count(None))

    def _unwrapped(self, lines: list[bytes]) -> Batch:
        records = []
        too_long = nul_bytes = 0
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
            else:
                record = whole.lstrip(b"\0") if whole.startswith(b"\0") else whole
                nul_bytes += len(whole) - len(record)
                if record.strip():
                    records.append(record)
        return Batch(records, too_long, nul_bytes)

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(Dumped(self.mode, self.pieces))

    @classmethod
    def load(cls, data: bytes) -> ContainerFormat:
        dumped = msgspec.msgpack.decode(data, type=Dumped)
        return cls(dumped.mode, dumped.pieces)

    def take_over(self, before: ContainerFormat) -> None:
        self.pieces.update(before.pieces)
        before.pieces.clear()


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

"""Lines that are posted as they are, to /v1/ndjson: one JSON object a line, in our schema or in a format that is named.

    {"timestamp": ..., "agent_id": ...}\n{...}\n
    [{...}, {...}]                                   what some shippers send instead

Each request is a stream of its own: a call that begins in one request and ends in another has no duration. What is
counted once (`formats.mapping.memory`) is shared with all other sources.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from xxhash import xxh3_128_digest

from agent_exporter.formats import Choice
from agent_exporter.formats.mapping import files
from agent_exporter.lines import MAX_LINE, NO_ORIGIN, Batch
from agent_exporter.sources.otlp_records import Record, check_count
from agent_exporter.sources.requests import RequestSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent_exporter.formats.mapping.memory import Memory

MAX_VALUES = 1 << 21
"""In an array, by its commas: one for every 10 bytes of the largest body. Each takes 87 bytes of memory."""
_array = msgspec.json.Decoder(list[msgspec.Raw])


class NdjsonSource(RequestSource):
    """Requests of lines. `formats` are files of the config, by the names that requests give."""

    name = "ndjson"

    def __init__(self, wake: Callable[[], None], memory: Memory, formats: Mapping[str, str] | None = None) -> None:
        super().__init__(wake)
        self.memory = memory
        self._choices = {"": Choice(None, memory)}
        self._choices |= {name: Choice.named(name, memory) for name in files.names()}
        self._choices |= {name: Choice.named(path, memory) for name, path in (formats or {}).items()}

    def formats(self) -> list[str]:
        """The names that a request may give; without one, the lines show their format."""
        return sorted(name for name in self._choices if name)

    def _lines(self, records: Sequence[Record]) -> Batch:
        format_ = self._choices[records[0].stream if records else ""].new()
        lines: list[bytes] = []
        skipped: dict[str, int] = {}
        too_long = nul_bytes = silent = 0
        for record in records:
            line = record.line.lstrip(b"\0") if record.line.startswith(b"\0") else record.line
            nul_bytes += len(record.line) - len(line)
            if len(line) > format_.max_line:
                too_long += 1
                continue
            batch = format_.feed((line,))
            lines += batch.lines
            too_long += batch.too_long
            nul_bytes += batch.nul_bytes
            silent += batch.silent
            for name, count in batch.skipped.items():
                skipped[name] = skipped.get(name, 0) + count
        rest = format_.end()
        lines += rest.lines
        kept = [line for line in lines if len(line) <= MAX_LINE]
        too_long += rest.too_long + len(lines) - len(kept)
        self.origins = [(0, NO_ORIGIN)]
        # A request that is sent again is the same to the byte; two equal lines of one request are two.
        envelopes = [records[0].envelope] * len(kept) if records else []
        return Batch(kept, too_long, nul_bytes, envelopes, skipped, silent)


def read_lines(body: bytes | bytearray, format_: str) -> list[Record]:
    """The lines of a request, or the values of its array. Raises ValueError for too many, or for a broken array."""
    data = bytes(body)
    envelope = xxh3_128_digest(data)
    if data.lstrip(b" \t\r\n").startswith(b"["):
        if data.count(b",") > MAX_VALUES:
            raise ValueError("the body has too many values for its length; send fewer at once")
        try:
            lines = [bytes(value) for value in _array.decode(data)]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"the body is an array that is not JSON: {error}") from error
        lines = [line.replace(b"\n", b" ") if b"\n" in line else line for line in lines]
    else:
        check_count(data.count(b"\n"))
        lines = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    check_count(len(lines))
    return [Record(format_, line, NO_ORIGIN, envelope) for line in lines if line.strip()]

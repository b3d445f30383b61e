"""Which format a stream is in: the one that the config names, or the one that its first lines show.

A stream that no format is named for is looked at until a line of ours, or of a format that comes with the package, is
found in it, for LOOKED_AT lines at most. A line of ours decides at once, whatever else is in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from agent_exporter.formats.containers import ContainerFormat
from agent_exporter.formats.mapping import files, stream
from agent_exporter.formats.mapping.memory import Memory
from agent_exporter.lines import MAX_LINE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from agent_exporter.formats.mapping.language import Mapping
    from agent_exporter.lines import Batch

LOOKED_AT = 64
"""Lines of a stream that may come before one that shows its format: banners, and what a program logs as it starts."""
_MAP = range(0x80, 0x90)
"""First bytes of a small map in msgpack. What a ContainerFormat dumps is an array."""


class Tagged(msgspec.Struct):
    """What a ChosenFormat remembers, unless its lines are ours: those of a ContainerFormat need no tag."""

    format: str
    """Empty while it is looked for."""
    looked: int
    container: bytes
    records: stream.StreamState = msgspec.field(default_factory=stream.StreamState)


_decode = msgspec.msgpack.Decoder(Tagged).decode


class Choice:
    """How the streams of a source are read. `mapping` is None if no format is named: then it is looked for.

    Sources share `memory`, so that what one has counted another does not count again.
    """

    def __init__(self, mapping: Mapping | None = None, memory: Memory | None = None) -> None:
        self.mapping = mapping
        self.memory = Memory() if memory is None else memory

    @classmethod
    def named(cls, name: str | None, memory: Memory | None = None) -> Choice:
        """Of a format's name or file. Raises ConfigError."""
        return cls(None if name is None else files.load(name), memory)

    def new(self, path: str = "") -> ChosenFormat:
        """The format of a new stream; `path` is that of its file."""
        return ChosenFormat(self, path)

    def load(self, data: bytes, path: str = "") -> ChosenFormat:
        """What was dumped; a new one if `data` is empty. Raises msgspec.MsgspecError if it is not readable."""
        found = self.new(path)
        if not data:
            return found
        if not is_tagged(data):
            found.container = ContainerFormat.load(data)
            found.looking = False
            return found
        tagged = _decode(data)
        found.container = ContainerFormat.load(tagged.container)
        found.looked = tagged.looked
        mapping = self.mapping or next((each for each in files.detectable() if each.name == tagged.format), None)
        if mapping is not None and mapping.name == tagged.format:
            found.records = stream.Records(mapping, self.memory, path, tagged.records)
            found.looking = False
        return found

    def of_file(self, path: str, head: bytes) -> str:
        """The name of the format that the first bytes of a file show; empty for lines of ours, or unknown ones."""
        format_ = Choice(self.mapping).new(path)  # with a memory of its own: nothing is counted
        format_.feed(head.split(b"\n")[:-1])
        return format_.name


class ChosenFormat:
    """Lines as they were written in, lines of our schema out."""

    def __init__(self, choice: Choice, path: str) -> None:
        self.container = ContainerFormat()
        self.records = None if choice.mapping is None else stream.Records(choice.mapping, choice.memory, path)
        """None while lines are passed on as they come out of the container's wrapping."""
        self.looking = self.records is None
        self.looked = 0
        self._choice = choice
        self._path = path

    @property
    def name(self) -> str:
        """Of the format; empty while lines are passed on."""
        return "" if self.records is None else self.records.mapping.name

    @property
    def max_line(self) -> int:
        """Bytes in a line at most."""
        return MAX_LINE if self.records is None else self.records.mapping.max_line

    @property
    def passes(self) -> bool:
        """Whether all lines so far were passed on as they are."""
        return self.records is None and self.container.passes

    @property
    def unfinished(self) -> Collection[str]:
        """Of the container's output streams."""
        return self.container.unfinished

    @property
    def continues(self) -> bool:
        """Whether the next file of the same name needs to know what this one remembers."""
        return bool(self.container.unfinished) or self.records is not None

    @property
    def held(self) -> int:
        """Bytes of unfinished records."""
        return self.container.held

    def feed(self, lines: Iterable[bytes]) -> Batch:
        """The records that these lines complete."""
        batch = self.container.feed(lines)
        if self.records is not None:
            return self.records.feed(batch)
        return self._look(batch) if self.looking else batch

    def end(self) -> Batch:
        """End of the stream."""
        batch = self.container.end()
        return batch if self.records is None else self.records.feed(batch)

    def _look(self, batch: Batch) -> Batch:
        for line in batch.lines:
            record = stream.parse(line)
            if record is not None:
                if _is_ours(record):
                    self.looking = False
                    return batch
                mapping = next((each for each in files.detectable() if each.is_its(record)), None)
                if mapping is not None:
                    self.looking = False
                    self.records = stream.Records(mapping, self._choice.memory, self._path)
                    return self.records.feed(batch)
            self.looked += 1
            if self.looked >= LOOKED_AT:
                self.looking = False
                return batch
        return batch

    def dump(self) -> bytes:
        """For a row."""
        if self.records is None:
            if not self.looking:
                return self.container.dump()
            return msgspec.msgpack.encode(Tagged("", self.looked, self.container.dump()))
        tagged = Tagged(self.name, self.looked, self.container.dump(), self.records.dump())
        return msgspec.msgpack.encode(tagged)

    def take_over(self, before: ChosenFormat) -> None:
        """Go on with the unfinished records, the open calls and the variables of a file that was rotated away."""
        self.container.take_over(before.container)
        if before.records is None:
            return
        if self.records is None and self.looking:
            self.looking = False
            self.records = stream.Records(before.records.mapping, self._choice.memory, self._path)
        if self.records is not None and self.records.mapping is before.records.mapping:
            self.records.take_over(before.records)


def is_tagged(data: bytes) -> bool:
    """Whether a ChosenFormat has dumped this."""
    return data[0] in _MAP


def _is_ours(record: dict[str, object]) -> bool:
    return "agent_id" in record and "session_id" in record and "action" in record

"""What turns the lines of a source into lines of ours.

    sources  ->  lines as they were written  ->  Format  ->  lines of ours  ->  action

A format is made for each stream (a file, standard input, a container's output) and may remember what it has seen of
it: how the stream is wrapped, and a record that is not complete. What it remembers is committed with the offset of
the file, so a restart continues in the middle of a record.

Adding a format: write a class with the methods of `Format` in a file of its own, and have `new` and `load` make it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from agent_exporter.formats.containers import ContainerFormat

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from agent_exporter.lines import Batch


class Format(Protocol):
    """The format of one stream of lines."""

    @classmethod
    def detect(cls, line: bytes) -> bool:
        """Whether a stream whose first line is this one is in this format."""

    @property
    def passes(self) -> bool:
        """The lines seen so far were handed on as they are: whoever seeks in the file may read it directly."""

    @property
    def unfinished(self) -> Collection[str]:
        """Names of the records that have begun and not ended; at most one for each output stream of the writer."""

    @property
    def held(self) -> int:
        """Bytes of unfinished records in memory."""

    def feed(self, lines: Iterable[bytes]) -> Batch:
        """The records that these lines complete, in order. Blank lines give none. Never raises."""

    def end(self) -> Batch:
        """The stream has ended: unfinished records are handed on as they are, to be rejected with a reason."""

    def dump(self) -> bytes:
        """What is remembered, for a row of state."""

    @classmethod
    def load(cls, data: bytes) -> Self:
        """What `dump` gave. Raises msgspec.MsgspecError for anything else."""

    def take_over(self, before: Self) -> None:
        """Continue the unfinished records of the file that had this one's name before it was rotated away."""


def new() -> Format:
    """The format of a stream of which nothing was read."""
    return ContainerFormat()


def load(data: bytes) -> Format:
    """The format that was dumped; for no data a new one. Raises msgspec.MsgspecError if the data is not readable."""
    return ContainerFormat.load(data) if data else new()

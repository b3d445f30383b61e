"""Formats turn the lines of a source into lines of our schema.

    sources  ->  lines as they were written  ->  Format  ->  our lines  ->  action

A format is made for each stream (a file, standard input, a container's output) and may remember what it has seen of
it: how the stream is wrapped, a record that is not complete, a call that has begun. What it remembers is committed with
the offset of the file, so a restart continues in the middle of a record.

    containers  what docker and CRI wrap around lines
    prefixed    a record behind something else on its line
    mapping/    formats of other programs, each a YAML file
    chosen      which of them a stream is in

Adding a format of another program: a YAML file in `mapping/builtin/`. One that no mapping can say: a class with the
methods of `Format` in a file of its own, which `chosen` makes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from agent_exporter.formats.chosen import Choice, ChosenFormat
from agent_exporter.formats.containers import ContainerFormat

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from agent_exporter.lines import Batch

__all__ = ["Choice", "ChosenFormat", "ContainerFormat", "Format"]


class Format(Protocol):
    """The format of one stream of lines."""

    @property
    def passes(self) -> bool:
        """Whether all lines so far were passed on unchanged: then the file may be read directly."""

    @property
    def unfinished(self) -> Collection[str]:
        """Names of unfinished records; at most one for each output stream of the writer."""

    @property
    def held(self) -> int:
        """Bytes of unfinished records in memory."""

    def feed(self, lines: Iterable[bytes]) -> Batch:
        """The records that these lines complete, in order. Blank lines give none. Never raises."""

    def end(self) -> Batch:
        """End of the stream: unfinished records are passed on as they are, to be rejected with a reason."""

    def dump(self) -> bytes:
        """The remembered state, for a row; `Choice.load` restores it."""

    def take_over(self, before: Self) -> None:
        """Continue the unfinished records of the file that had this one's name before it was rotated away."""

"""Where lines come from. A source yields batches of complete lines and remembers how far it has read.

A source passes what it reads through the stream's format (`formats`), as both are committed together.

Only the pipeline's thread calls a source: `read` for lines, `changes` for the rows of the next commit, `committed` once
that commit is on disk.

    files    followed as they grow and rotate: followed (one file), place (how far it was read), paths (patterns)
    once     files read once, plain or packed: zstd
    stdin    standard input
    requests what is posted, until it is counted: otlp (its records by otlp_protobuf or otlp_json), ndjson
    splitting blocks of bytes into lines
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from agent_exporter.clocks import READ
from agent_exporter.lines import NO_ORIGIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from agent_exporter.formats.mapping.memory import Memory
    from agent_exporter.lines import Batch, Origin
    from agent_exporter.state import Row


class Source:
    """One entry of the config, or one argument of the command line. Methods here are defaults that do nothing."""

    name: str
    """The label `source`: as the config or the command line names it, never the path it expands to."""

    kinds: tuple[str, ...] = ()
    """The kinds of rows that `restore` takes."""

    impatient = False
    """A sender waits for the commit of the last batch: commit it without delay."""

    window = READ
    """Seconds over which the clocks of its agents are measured (`clocks`)."""

    truncations = 0
    """Number of files that became shorter than the offset read."""

    lost_bytes = 0
    """An estimate of the bytes that were cut from files before they were read."""

    origins: Sequence[tuple[int, Origin]] = ()
    """(index of the first line, origin) of each run of lines in the last batch, in order."""

    memory: Memory | None = None
    """What its formats have counted once, which several sources share; committed with the rows of the sources."""

    finished = False
    """Whether there will be no more lines: standard input at its end, or a file read once."""

    def read(self) -> Batch | None:
        """About one block of lines, or None when there is nothing to read now. Never blocks."""
        raise NotImplementedError

    def origin(self, number: int) -> Origin:
        """Origin of a line of the last batch, by its index."""
        found = bisect_right(self.origins, number, key=lambda run: run[0])
        return self.origins[found - 1][1] if found else NO_ORIGIN

    def backlog(self, counts: Callable[[Origin], bool]) -> Callable[[], bool] | None:  # noqa: ARG002
        """None if no line is unread now whose origin `counts`; otherwise a function that is True once they are read.

        What arrives later is not waited for, so nobody who writes faster than is read puts it off.
        """
        return None

    def unread(self) -> int:
        """Bytes that are known and not read."""
        return 0

    def note(self, rejected: int, why: str) -> None:
        """Called after a batch was counted, with the number of rejected lines and the reason of the last one."""

    def changes(self) -> Iterable[Row]:
        """Rows of state that changed since the last call; the caller commits them or keeps them."""
        return ()

    def committed(self) -> None:
        """Called when everything that `read` returned so far is on disk."""

    def refused(self) -> None:
        """Called when a commit failed; it will be tried again, and nothing is read meanwhile."""

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Restore from committed rows."""

    def progress(self) -> tuple[int, int]:
        """(bytes read, bytes in all) of a log that is read once."""
        return 0, 0

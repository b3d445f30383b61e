"""Where lines come from. A source yields batches of complete lines and remembers how far it has read.

A source passes what it reads through the format of the stream (`formats`), as both are committed together.

Every source is driven by the pipeline's thread alone: `read` for lines, `changes` for what the next commit must
hold, `committed` once that commit is on disk.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from agent_exporter.clocks import READ
from agent_exporter.lines import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent_exporter.lines import Batch, Origin
    from agent_exporter.state import Row


class Source:
    """One entry of the config, or one argument of the command line. What a source need not do is done by these."""

    name: str
    """The label `source`: as the config or the command line names it, never the path it expands to."""

    kinds: tuple[str, ...] = ()
    """The kinds of rows that `restore` wants."""

    impatient = False
    """Somebody waits for the commit of what `read` gave last: it is not to be put off."""

    window = READ
    """Seconds over which the clocks of the agents that it brings are measured (`clocks`)."""

    truncations = 0
    """Files found shorter than they had been read."""

    origins: Sequence[tuple[int, Origin]] = ()
    """From which line on of the batch read last who spoke."""

    finished = False
    """There will never be more: standard input at its end, or a file read once."""

    def read(self) -> Batch | None:
        """About one block of lines, or None when there is nothing to read now. Never blocks."""
        raise NotImplementedError

    def origin(self, number: int) -> Origin:
        """Of a line of the batch read last, by its index."""
        found = bisect_right(self.origins, number, key=lambda run: run[0])
        return self.origins[found - 1][1] if found else NOBODY

    def note(self, rejected: int, why: str) -> None:
        """Told after a batch was counted: how many of its lines were rejected, and why the last one was."""

    def changes(self) -> Iterable[Row]:
        """The rows of state that differ from those of the last call; the caller commits them or keeps them."""
        return ()

    def committed(self) -> None:
        """All that was handed out by `read` so far is on disk."""

    def refused(self) -> None:
        """The commit of what was handed out failed; it will be tried again, and nothing is read meanwhile."""

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take up where the rows that were committed before a restart left off."""

    def progress(self) -> tuple[int, int]:
        """Bytes read and bytes in all, of a log that is read once."""
        return 0, 0

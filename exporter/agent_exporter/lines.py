"""Lines on their way from sources and formats to the decoder: batches, origins, and the limit of length."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LINE = 1 << 20
"""Bytes in a line without its newline; docs/log-schema.md. A longer one is dropped without being held in memory."""

BLOCK = 64 << 10
"""Bytes read at once. Measured: 64 KiB beats 1 MiB by a tenth, as the lines stay in the processor's cache."""


class Origin(NamedTuple):
    """Origin of a line; the writer of the line cannot forge it."""

    path: str = ""
    """Where the file really is, whatever links or former names led to it; "-" for standard input; "" for OTLP."""
    attributes: tuple[tuple[str, str], ...] = ()
    """Attributes of the OTLP resource, which the collector sets for the container or pod."""


NO_ORIGIN = Origin()


class Batch(NamedTuple):
    """Lines read at once: complete, without newline, none of them blank."""

    lines: list[bytes]
    too_long: int = 0
    """Lines over MAX_LINE that were skipped."""
    nul_bytes: int = 0
    """NUL bytes that stood before a line and were dropped."""
    envelopes: Sequence[bytes] = ()
    """For OTLP, where a request may be delivered again: for each line, the rest of its record, which distinguishes it
    from equal lines. Empty for files and standard input, where nothing is delivered twice.
    """

    def counting(self, *others: Batch) -> Batch:
        """The same lines, with what the others counted added."""
        parts = (self, *others)
        return self._replace(
            too_long=sum(part.too_long for part in parts), nul_bytes=sum(part.nul_bytes for part in parts)
        )


def join(*parts: Batch) -> Batch:
    """The parts of one file as one batch, in order."""
    return Batch([line for part in parts for line in part.lines]).counting(*parts)

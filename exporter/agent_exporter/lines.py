"""What flows from sources and formats to the decoder: lines, where they came from, and how long they may be."""

from __future__ import annotations

from typing import NamedTuple

MAX_LINE = 1 << 20
"""Bytes in a line without its newline; docs/log-schema.md. A longer one is dropped without being held in memory."""

BLOCK = 64 << 10
"""Bytes read at once. Measured: 64 KiB beats 1 MiB by a tenth, as the lines stay in the processor's cache."""


class Origin(NamedTuple):
    """Where a line came from; the writer of the line cannot choose it."""

    path: str = ""
    """Of a file, absolute; "-" for standard input; "" for OTLP."""
    attributes: tuple[tuple[str, str], ...] = ()
    """Of the OTLP resource: what the collector says of the container or pod."""


NOBODY = Origin()


class Batch(NamedTuple):
    """Lines read at once: complete, without newline, none of them blank."""

    lines: list[bytes]
    too_long: int = 0
    """Lines over MAX_LINE that were skipped."""
    nul_bytes: int = 0
    """NUL bytes that stood before a line and were dropped."""


def join(*parts: Batch) -> Batch:
    """The parts as one batch, in order."""
    return Batch(
        [line for part in parts for line in part.lines],
        sum(part.too_long for part in parts),
        sum(part.nul_bytes for part in parts),
    )

"""Lines on their way from sources and formats to the decoder: batches, origins, and the limit of length."""

from __future__ import annotations

from collections import Counter
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    skipped: Mapping[str, int] = MappingProxyType({})
    """Records of another program's format that its mapping has no rule for, by `format/type`."""
    silent: int = 0
    """Records that it has a rule for, and that became no line: a copy, a call that only begins."""

    def counting(self, *others: Batch) -> Batch:
        """The same lines, with what the others counted added."""
        parts = (self, *others)
        return self._replace(
            too_long=sum(part.too_long for part in parts), nul_bytes=sum(part.nul_bytes for part in parts)
        )


def join(*parts: Batch) -> Batch:
    """The parts of one file as one batch, in order."""
    whole = Batch([line for part in parts for line in part.lines]).counting(*parts)
    if not any(part.skipped or part.silent for part in parts):
        return whole
    skipped: Counter[str] = Counter()
    for part in parts:
        skipped.update(part.skipped)
    return whole._replace(skipped=skipped, silent=sum(part.silent for part in parts))

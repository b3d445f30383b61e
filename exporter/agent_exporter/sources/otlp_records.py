"""What a request of OTLP is turned into: lines, each with the stream that it is of.

Two encodings lead here, protobuf and JSON, and the same values give the same lines.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from xxhash import xxh3_64_hexdigest, xxh3_128_digest

from agent_exporter.action import MAX_DEPTH
from agent_exporter.lines import NO_ORIGIN, Origin

if TYPE_CHECKING:
    from collections.abc import Iterable


class Record(NamedTuple):
    """What a log record says. Records of one stream are pieces of one file, in order.

    A format that reads more of a record than its body (attributes, scope, ids) gets it by a field here.
    """

    stream: str
    line: bytes
    """The body."""
    origin: Origin = NO_ORIGIN
    """The resource."""
    envelope: bytes = b""
    """A hash of all else of the record: its own times, attributes and ids, not those of resource and scope."""


def envelope(rest: bytes) -> bytes:
    """Of a record without its body. The sender chooses it, so it need not be keyed: `duplicates` does that."""
    return xxh3_128_digest(rest)


MAX_ATTRIBUTES = 64
"""Of a resource, that are kept to say who spoke; a collector sets a dozen."""

MAX_RECORDS = 200_000
"""In a request: 20 MiB of ordinary lines are fewer, and 20 MiB of empty ones would be ten million."""
TOO_MANY = f"the request has over {MAX_RECORDS:,} records; send fewer at once"

STREAM_KEYS = ("log.file.path", "log.file.name", "log.iostream")
"""The attributes of a record that distinguish the streams of one resource."""

TOO_DEEP = msgspec.Raw(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
"""Stands for what is nested too deeply: the decoder rejects it for the same reason."""
_NOT_FINITE = msgspec.Raw(b"1e999")
_EXACT = 2.0**53
"""Above it a float is not every integer."""


def check_count(records: int) -> None:
    """Raise ValueError if a request has more records than it may."""
    if records > MAX_RECORDS:
        raise ValueError(TOO_MANY)


class Streams(dict[tuple[tuple[str, str], ...], str]):
    """Names of the streams of one resource, by the attributes that distinguish them."""

    def __init__(self, resource: bytes, attributes: Iterable[tuple[str, str]]) -> None:
        super().__init__()
        self._resource = resource
        self.origin = Origin(attributes=tuple(islice(attributes, MAX_ATTRIBUTES)))

    def __missing__(self, attributes: tuple[tuple[str, str], ...]) -> str:
        name = self[attributes] = xxh3_64_hexdigest(self._resource + repr(sorted(attributes)).encode())
        return name


def number(value: float) -> Any:
    """The collector parses every number as a double: what is integral was most likely written as an integer."""
    if not math.isfinite(value):
        return _NOT_FINITE
    return int(value) if value.is_integer() and abs(value) < _EXACT else value

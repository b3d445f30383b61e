"""ExportLogsServiceRequest as protobuf.

Taken apart by hand down to the records, for two reasons. One record that protobuf refuses must not take its neighbours
with it, and the collector does send such: text that is not UTF-8, and maps nested deeper than protobuf's limit, about
33. And millions of empty fields are given up on early. The records are the official classes' work.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from agent_exporter.action import MAX_DEPTH
from agent_exporter.lines import MAX_LINE
from agent_exporter.sources.otlp_records import (
    MAX_RECORDS,
    STREAM_KEYS,
    TOO_DEEP,
    TOO_MANY,
    Record,
    Streams,
    check_count,
    envelope,
    number,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

MAX_FIELDS = 4 * MAX_RECORDS
"""In a request, down to the records but not within them: one for each, three more if it is unreadable."""
MAX_RECORD = 4 * MAX_LINE
"""Bytes of a record. A larger one is handed on as it is, to be counted as too long: taken apart, twenty megabytes of
empty attributes would take half a gigabyte."""
_NO_REQUEST = "the body is not an ExportLogsServiceRequest"


def decode_protobuf(body: bytes | bytearray) -> list[Record]:
    """The records of an ExportLogsServiceRequest. Raises ValueError."""
    records: list[Record] = []
    met = itertools.count()
    for resource in _children(bytes(body), 1, met):
        described = b"".join(_children(resource, 1, met))
        stream = Streams(described, _identity(described))
        for scope in _children(resource, 2, met):
            for raw in _children(scope, 2, met):
                if len(raw) > MAX_RECORD:
                    records.append(Record(stream[()], raw, stream.origin))
                    continue
                attributes: tuple[tuple[str, str], ...] = ()
                try:
                    record = LogRecord.FromString(raw)
                    line = _body(record.body)
                    attributes = tuple(_attributes(record.attributes))
                    record.ClearField("body")
                    rest = record.SerializeToString()
                except DecodeError:
                    line = _unreadable(b"".join(_children(raw, 5, met)), met)
                    rest = b""
                if line:
                    records.append(Record(stream[attributes], line, stream.origin, envelope(rest)))
                check_count(len(records))
    return records


def _unreadable(value: bytes, met: Iterator[int]) -> bytes:
    """The line for an AnyValue that may be none: where possible one that the decoder rejects for the right reason."""
    try:
        return _body(AnyValue.FromString(value))
    except DecodeError as error:
        return next(_children(value, 1, met), bytes(TOO_DEEP) if "Depth" in str(error) else b"\xff")


def _children(message: bytes, wanted: int, met: Iterator[int]) -> Iterator[bytes]:
    """The fields `wanted` of a protobuf message, those that have a length. Raises ValueError if it is none.

    `met` counts fields of any number, in all messages of one request.
    """
    at = 0
    while at < len(message):
        if next(met) > MAX_FIELDS:
            raise ValueError(TOO_MANY)
        key, at = _varint(message, at)
        match key & 7:  # the wire type
            case 0:
                _, at = _varint(message, at)
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(message, at)
            case 5:
                size = 4
            case _:
                raise ValueError(_NO_REQUEST)
        if at + size > len(message):
            raise ValueError(_NO_REQUEST)
        if key == wanted << 3 | 2:
            yield message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    found = 0
    for place, byte in enumerate(message[at : at + 10]):
        found |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return found, at + place + 1
    raise ValueError(_NO_REQUEST)


def _identity(resource: bytes) -> Iterator[tuple[str, str]]:
    """Attributes of a Resource that are text; of one that is not readable none, so that nobody has spoken."""
    try:
        attributes = Resource.FromString(resource).attributes
    except DecodeError:
        return
    for item in attributes:
        if item.value.WhichOneof("value") == "string_value":
            yield item.key, item.value.string_value


def _attributes(attributes: Iterable[KeyValue]) -> Iterator[tuple[str, str]]:
    for item in attributes:
        if item.key in STREAM_KEYS:
            yield item.key, item.value.string_value


def _body(value: AnyValue) -> bytes:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value.encode()
    if kind == "bytes_value":
        return value.bytes_value
    if kind is None:
        return b""
    return msgspec.json.encode(_plain(value, 1))


def _plain(value: AnyValue, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if depth > MAX_DEPTH and kind in {"kvlist_value", "array_value"}:
        return TOO_DEEP
    if kind == "kvlist_value":
        return {item.key: _plain(item.value, depth + 1) for item in value.kvlist_value.values}
    if kind == "array_value":
        return [_plain(item, depth + 1) for item in value.array_value.values]
    if kind == "double_value":
        return number(value.double_value)
    return getattr(value, kind) if kind else None

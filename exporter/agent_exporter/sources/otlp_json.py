"""ExportLogsServiceRequest as OTLP/JSON.

Read by msgspec: google.protobuf.json_format can be made to recurse without end. null stands for a field's default
everywhere in protobuf's JSON.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import msgspec

from agent_exporter.action import MAX_DEPTH
from agent_exporter.sources.otlp_records import STREAM_KEYS, TOO_DEEP, Record, Streams, check_count, envelope, number

MAX_OBJECTS = 1 << 20
"""In a request: one for every 20 bytes of the largest body. Empty ones would take a hundred bytes each."""


class _AnyValue(msgspec.Struct, rename="camel", gc=False):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    array_value: _Values | None = None
    kvlist_value: _Pairs | None = None
    bytes_value: str | None = None


class _Values(msgspec.Struct, gc=False):
    values: list[_AnyValue | None] | None = None


class _Pair(msgspec.Struct, gc=False):
    key: str | None = None
    value: _AnyValue | None = None


class _Pairs(msgspec.Struct, gc=False):
    values: list[_Pair] | None = None


class _Record(msgspec.Struct, rename="camel", gc=False):
    time_unix_nano: msgspec.Raw = msgspec.Raw()
    observed_time_unix_nano: msgspec.Raw = msgspec.Raw()
    trace_id: msgspec.Raw = msgspec.Raw()
    span_id: msgspec.Raw = msgspec.Raw()
    severity_number: msgspec.Raw = msgspec.Raw()
    severity_text: msgspec.Raw = msgspec.Raw()
    event_name: msgspec.Raw = msgspec.Raw()
    body: _AnyValue | None = None
    attributes: list[_Pair] | None = None


class _Scope(msgspec.Struct, rename="camel", gc=False):
    log_records: list[_Record] | None = None


class _Attributes(msgspec.Struct, gc=False):
    attributes: list[_Pair] | None = None


class _Resource(msgspec.Struct, rename="camel", gc=False):
    resource: _Attributes | None = None
    scope_logs: list[_Scope] | None = None


class _Logs(msgspec.Struct, rename="camel", gc=False):
    resource_logs: list[_Resource] | None = None


_decode_logs = msgspec.json.Decoder(_Logs).decode


def decode_json(body: bytes | bytearray) -> list[Record]:
    """The records of an ExportLogsServiceRequest as OTLP/JSON. Raises ValueError."""
    if body.count(b"{") > MAX_OBJECTS:
        raise ValueError("the body is not OTLP/JSON of log records: it has too many objects for its length")
    try:
        request = _decode_logs(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the body is not OTLP/JSON: {error}") from error
    resources = request.resource_logs or ()
    check_count(sum(len(scope.log_records or ()) for each in resources for scope in each.scope_logs or ()))
    records = []
    for resource in resources:
        attributes = (resource.resource and resource.resource.attributes) or ()
        identity = ((item.key, item.value.string_value) for item in attributes if item.key and item.value)
        stream = Streams(
            msgspec.json.encode(resource.resource), ((key, value) for key, value in identity if value is not None)
        )
        for scope in resource.scope_logs or ():
            for record in scope.log_records or ():
                line = b"" if record.body is None else _body(record.body)
                if line:
                    pairs = tuple(
                        (item.key, item.value.string_value or "")
                        for item in record.attributes or ()
                        if item.key in STREAM_KEYS and item.value is not None
                    )
                    record.body = None
                    rest = msgspec.json.encode(msgspec.structs.astuple(record))
                    records.append(Record(stream[pairs], line, stream.origin, envelope(rest)))
    return records


def _body(value: _AnyValue) -> bytes:
    if value.string_value is not None:
        return value.string_value.encode()
    plain = _plain(value, 1)
    if isinstance(plain, bytes):
        return plain
    return b"" if plain is None else msgspec.json.encode(plain)


def _plain(value: _AnyValue | None, depth: int) -> Any:
    if value is None:
        return None
    if depth > MAX_DEPTH and (value.kvlist_value is not None or value.array_value is not None):
        return TOO_DEEP
    if value.kvlist_value is not None:
        return {item.key or "": _plain(item.value, depth + 1) for item in value.kvlist_value.values or ()}
    if value.array_value is not None:
        return [_plain(item, depth + 1) for item in value.array_value.values or ()]
    if value.int_value is not None:
        return _integer(value.int_value)
    if value.double_value is not None:
        try:
            return number(float(value.double_value))  # "NaN" and "Infinity" come as strings
        except ValueError as error:
            raise ValueError("the body is not OTLP/JSON: a doubleValue is not a number") from error
    if value.bytes_value is not None:
        return _bytes(value.bytes_value)
    return value.bool_value if value.bool_value is not None else value.string_value


def _integer(value: int | str) -> int:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        value = int(value)
    if isinstance(value, str) or not -(2**63) <= value < 2**63:
        raise ValueError("the body is not OTLP/JSON: an intValue is not a 64-bit integer")
    return value


def _bytes(text: str) -> bytes:
    """Either alphabet of base64, with or without padding, as protobuf's JSON allows."""
    text = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("the body is not OTLP/JSON: a bytesValue is not base64") from error

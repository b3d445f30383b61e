"""Log records that an OpenTelemetry collector, or any OTLP/HTTP sender, posts to /v1/logs.

A record's body is a line: as text, as bytes, or already parsed into a map, which is written as JSON again so that
there is one decode path. The answer waits for the commit: what was answered with 200 is counted for good.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import logging
import math
import re
import threading
from collections import OrderedDict, deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from xxhash import xxh3_64_hexdigest

from exporter.action import MAX_DEPTH
from exporter.sources import MAX_LINE, Batch, Source
from exporter.sources.wrappers import Unwrapper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

    from exporter.state import Row

log = logging.getLogger(__name__)

KIND = "otlp_stream"
MOST_REQUESTS = 64
"""Waiting to be counted; a collector sends a handful at a time."""
MOST_BYTES = 64 << 20
"""Of lines waiting to be counted: three requests of the largest size."""
PER_RECORD = 150
"""Bytes of memory that a record takes beside its line."""
MOST_RECORDS = 200_000
"""In a request: 20 MiB of ordinary lines are fewer, and 20 MiB of empty ones would be ten million."""
MOST_FIELDS = 4 * MOST_RECORDS
"""In a request as protobuf, down to the records but not within them: one for each, three more if it is unreadable."""
MOST_RECORD = 4 * MAX_LINE
"""Bytes of a record as protobuf. A larger one is handed on as it is, to be counted as too long: taken apart, twenty
megabytes of empty attributes would take half a gigabyte."""
MOST_OBJECTS = 1 << 20
"""In a request as JSON: one for every 20 bytes of the largest body. Empty ones would take a hundred bytes each."""
MOST_STREAMS = 1024
"""Files and containers of which unfinished pieces are remembered."""
MOST_PIECES = 64 << 20
"""Bytes of all unfinished pieces. Beyond either bound the oldest are handed on as they are, to be rejected."""
_EXACT = 2.0**53
"""Above it a float is not every integer."""

Record = tuple[str, bytes]
"""(stream, line): records of one stream are pieces of one file, in order."""


class Busy(Exception):  # noqa: N818
    """Not now: the queue is full, the disk refuses, or the end is near. The sender is to try again."""


class Receipt(NamedTuple):
    """What became of a request, once committed."""

    rejected: int = 0
    why: str = ""


class _Request(NamedTuple):
    records: Sequence[Record]
    size: int
    answer: Future[Receipt]


class OtlpSource(Source):
    """A bounded queue between the server's threads, which `deliver`, and the pipeline's."""

    name = "otlp"
    kinds = (KIND,)

    def __init__(
        self, wake: Callable[[], None], max_requests: int = MOST_REQUESTS, max_bytes: int = MOST_BYTES
    ) -> None:
        self._wake = wake
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._bytes = 0
        self._closed: str | None = None
        self._handed_out: list[tuple[_Request, Receipt]] = []
        self._current: _Request | None = None
        self._streams: OrderedDict[str, Unwrapper] = OrderedDict()
        """Those with unfinished pieces, the one touched last at the end."""
        self._held = 0
        self._before: dict[str, bytes | None] = {}
        """What the last commit holds of each stream that has changed since; None for nothing."""

    # --- the server's threads ----------------------------------------------------------------------------------

    def deliver(self, records: Sequence[Record]) -> Future[Receipt]:
        """Queue one request. The future is done once its lines are committed. Raises Busy."""
        size = sum(len(line) for _, line in records) + PER_RECORD * len(records)
        request = _Request(records, size, Future())
        with self._lock:
            if self._closed is not None:
                raise Busy(self._closed)
            if len(self._waiting) >= self._max_requests or self._bytes + size > max(self._max_bytes, size):
                raise Busy("too many requests are waiting to be counted")
            self._waiting.append(request)
            self._bytes += size
        self._wake()
        return request.answer

    # --- the pipeline's thread ---------------------------------------------------------------------------------

    @property
    def impatient(self) -> bool:  # type: ignore[override]
        """A sender waits for its answer."""
        return bool(self._handed_out)

    def read(self) -> Batch | None:
        """The lines of one request."""
        with self._lock:
            request = None
            while self._waiting and (
                request is None or request.answer.cancelled()
            ):  # its sender gave up: it will retry
                request = self._waiting.popleft()
                self._bytes -= request.size
        if request is None or request.answer.cancelled():
            return None
        lines: list[bytes] = []
        too_long = 0
        for stream, line in request.records:
            if len(line) > 2 * MAX_LINE:  # twice, as a wrapper's escapes may double it
                too_long += 1
                continue
            records, more = self._unwrap(stream, line)
            too_long += more
            for record in records:
                if len(record) > MAX_LINE:
                    too_long += 1
                else:
                    lines.append(record)
        while len(self._streams) > MOST_STREAMS or self._held > MOST_PIECES:
            pieces, more = self._forget(next(iter(self._streams)))
            lines += pieces
            too_long += more
        self._current = request
        return Batch(lines, too_long)

    def _unwrap(self, stream: str, line: bytes) -> Batch:
        """The records that a line ends. An unwrapper is kept only as long as it holds pieces."""
        unwrapper = self._streams.pop(stream, None)
        if unwrapper is None:
            unwrapper = Unwrapper()
            batch = unwrapper.feed((line,))
            if not unwrapper.pieces:
                return batch
            self._before.setdefault(stream, None)
        else:
            self._remember(stream, unwrapper)
            self._held -= _size(unwrapper)
            batch = unwrapper.feed((line,))
        if unwrapper.pieces:
            self._streams[stream] = unwrapper
            self._held += _size(unwrapper)
        return batch

    def _remember(self, stream: str, unwrapper: Unwrapper) -> None:
        if stream not in self._before:
            self._before[stream] = unwrapper.dump()

    def _forget(self, stream: str) -> Batch:
        unwrapper = self._streams.pop(stream)
        self._remember(stream, unwrapper)
        self._held -= _size(unwrapper)
        return unwrapper.end()

    def note(self, rejected: int, why: str) -> None:
        """Keep for the answer what the pipeline says of the batch read last."""
        assert self._current is not None
        self._handed_out.append((self._current, Receipt(rejected, why)))
        self._current = None

    def committed(self) -> None:
        """Answer the requests whose lines are on disk."""
        for request, receipt in self._handed_out:
            if request.answer.set_running_or_notify_cancel():
                request.answer.set_result(receipt)
        self._handed_out.clear()
        self._before.clear()

    def refused(self) -> None:
        """Nothing is answered with 200 that is not on disk. What was counted stays; a retry is a duplicate.

        Pieces go back to what they were, as the retry brings them again.
        """
        for stream, before in self._before.items():
            self._put(stream, before)
        handed_out, self._handed_out = self._handed_out, []
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
            self._bytes = 0
        for request in [*(request for request, _ in handed_out), *waiting]:
            if request.answer.set_running_or_notify_cancel():
                request.answer.set_exception(Busy(self._closed or "state cannot be written"))

    def close(self, why: str) -> None:
        """Take nothing more; those who wait are told to try again."""
        with self._lock:
            self._closed = why
        self.refused()

    def changes(self) -> Iterator[Row]:
        """Streams with unfinished pieces: what was answered with 200 must not wait in memory alone.

        Until a commit succeeds they are given each time, as `refused` may have changed them back.
        """
        for stream in self._before:
            unwrapper = self._streams.get(stream)
            yield KIND, stream, unwrapper.dump() if unwrapper is not None else None

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take up unfinished pieces."""
        for stream, value in rows:
            try:
                self._put(stream, value)
            except msgspec.MsgspecError as error:
                log.warning("%s: a row of state is not readable, its unfinished line is lost: %s", self.name, error)
                self._before[stream] = None

    def _put(self, stream: str, value: bytes | None) -> None:
        unwrapper = self._streams.pop(stream, None)
        if unwrapper is not None:
            self._held -= _size(unwrapper)
        if value is not None:
            unwrapper = self._streams[stream] = Unwrapper.load(value)
            self._held += _size(unwrapper)


def _size(unwrapper: Unwrapper) -> int:
    return sum(len(piece) for piece in unwrapper.pieces.values() if piece)


# --- decoding ------------------------------------------------------------------------------------------------------

_STREAM_KEYS = ("log.file.path", "log.file.name", "log.iostream")


def decode_protobuf(body: bytes | bytearray) -> list[Record]:
    """The records of an ExportLogsServiceRequest. Raises ValueError.

    Taken apart here down to the records, for two reasons. One record that protobuf refuses must not take its
    neighbours with it, and the collector does send such: text that is not UTF-8, and maps nested deeper than
    protobuf's limit, about 33. And millions of empty fields are given up on early.
    """
    records: list[Record] = []
    met = itertools.count()
    for resource in _children(bytes(body), 1, met):
        stream = _Names(b"".join(_children(resource, 1, met)))
        for scope in _children(resource, 2, met):
            for raw in _children(scope, 2, met):
                attributes: Iterable[tuple[str, str]] = ()
                if len(raw) > MOST_RECORD:
                    records.append((stream[()], raw))
                    continue
                try:
                    record = LogRecord.FromString(raw)
                    line = _body(record.body)
                    attributes = _attributes(record.attributes)
                except DecodeError:
                    line = _unreadable(b"".join(_children(raw, 5, met)), met)
                if line:
                    records.append((stream[tuple(attributes)], line))
                if len(records) > MOST_RECORDS:
                    raise ValueError(_TOO_MANY)
    return records


def _unreadable(value: bytes, met: Iterator[int]) -> bytes:
    """The line for an AnyValue that may be none: where possible one that the decoder rejects for the right reason."""
    try:
        return _body(AnyValue.FromString(value))
    except DecodeError as error:
        return next(_children(value, 1, met), bytes(_TOO_DEEP) if "Depth" in str(error) else b"\xff")


def _children(message: bytes, number: int, met: Iterator[int]) -> Iterator[bytes]:
    """The fields `number` of a protobuf message, those that have a length. Raises ValueError if it is none.

    `met` counts fields of any number, in all messages of one request.
    """
    at = 0
    while at < len(message):
        if next(met) > MOST_FIELDS:
            raise ValueError(_TOO_MANY)
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            _, at = _varint(message, at)
            continue
        if kind not in _SIZES:
            raise ValueError(_NO_REQUEST)
        size, at = (_SIZES[kind], at) if kind != 2 else _varint(message, at)
        if at + size > len(message):
            raise ValueError(_NO_REQUEST)
        if kind == 2 and key >> 3 == number:
            yield message[at : at + size]
        at += size


_SIZES = {1: 8, 2: 0, 5: 4}
"""Bytes by wire type; 2 brings its own."""
_TOO_MANY = f"the request has over {MOST_RECORDS:,} records; send fewer at once"
_NO_REQUEST = "the body is no ExportLogsServiceRequest"


def _varint(message: bytes, at: int) -> tuple[int, int]:
    number = 0
    for place, byte in enumerate(message[at : at + 10]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, at + place + 1
    raise ValueError(_NO_REQUEST)


class _Names(dict[tuple[tuple[str, str], ...], str]):
    """Names of the streams of one resource, by the attributes that tell them apart."""

    def __init__(self, where: bytes) -> None:
        super().__init__()
        self._where = where

    def __missing__(self, attributes: tuple[tuple[str, str], ...]) -> str:
        name = self[attributes] = xxh3_64_hexdigest(self._where + repr(sorted(attributes)).encode())
        return name


def _attributes(attributes: Iterable[KeyValue]) -> Iterator[tuple[str, str]]:
    for item in attributes:
        if item.key in _STREAM_KEYS:
            yield item.key, item.value.string_value


def _body(value: AnyValue) -> bytes:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value.encode()
    if kind == "bytes_value":
        return value.bytes_value
    if kind is None:
        return b""
    return _json(_plain(value, 1))


def _plain(value: AnyValue, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        if depth > MAX_DEPTH:
            return _TOO_DEEP
        return {item.key: _plain(item.value, depth + 1) for item in value.kvlist_value.values}
    if kind == "array_value":
        if depth > MAX_DEPTH:
            return _TOO_DEEP
        return [_plain(item, depth + 1) for item in value.array_value.values]
    if kind == "bytes_value":
        return value.bytes_value
    if kind == "double_value":
        return _number(value.double_value)
    return getattr(value, kind) if kind else None


class _AnyValue(msgspec.Struct, rename="camel", gc=False):
    """OTLP/JSON; google.protobuf.json_format is left alone, as it can be made to recurse without end."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    array_value: _Values | None = None
    kvlist_value: _Pairs | None = None
    bytes_value: str | None = None


# null stands for a field's default everywhere in protobuf's JSON.


class _Values(msgspec.Struct, gc=False):
    values: list[_AnyValue | None] | None = None


class _Pair(msgspec.Struct, gc=False):
    key: str | None = None
    value: _AnyValue | None = None


class _Pairs(msgspec.Struct, gc=False):
    values: list[_Pair] | None = None


class _Record(msgspec.Struct, rename="camel", gc=False):
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
    if body.count(b"{") > MOST_OBJECTS:
        raise ValueError("the body is no OTLP/JSON of log records: it has too many objects for its length")
    try:
        request = _decode_logs(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the body is no OTLP/JSON: {error}") from error
    resources = request.resource_logs or ()
    if sum(len(scope.log_records or ()) for each in resources for scope in each.scope_logs or ()) > MOST_RECORDS:
        raise ValueError(_TOO_MANY)
    records = []
    for resource in resources:
        stream = _Names(msgspec.json.encode(resource.resource))
        for scope in resource.scope_logs or ():
            for record in scope.log_records or ():
                line = b"" if record.body is None else _json_body(record.body)
                if line:
                    pairs = tuple(
                        (item.key, item.value.string_value or "")
                        for item in record.attributes or ()
                        if item.key in _STREAM_KEYS and item.value is not None
                    )
                    records.append((stream[pairs], line))
    return records


def _json_body(value: _AnyValue) -> bytes:
    if value.string_value is not None:
        return value.string_value.encode()
    plain = _plain_json(value, 1)
    if isinstance(plain, bytes):
        return plain
    return b"" if plain is None else _json(plain)


def _plain_json(value: _AnyValue | None, depth: int) -> Any:
    if value is None:
        return None
    if value.kvlist_value is not None:
        if depth > MAX_DEPTH:
            return _TOO_DEEP
        return {item.key or "": _plain_json(item.value, depth + 1) for item in value.kvlist_value.values or ()}
    if value.array_value is not None:
        if depth > MAX_DEPTH:
            return _TOO_DEEP
        return [_plain_json(item, depth + 1) for item in value.array_value.values or ()]
    if value.int_value is not None:
        return _integer(value.int_value)
    if value.double_value is not None:
        try:
            return _number(float(value.double_value))  # "NaN" and "Infinity" come as strings
        except ValueError as error:
            raise ValueError("the body is no OTLP/JSON: a doubleValue is no number") from error
    if value.bytes_value is not None:
        return _bytes(value.bytes_value)
    return value.bool_value if value.bool_value is not None else value.string_value


def _integer(value: int | str) -> int:
    if isinstance(value, str):
        if not re.fullmatch(r"-?[0-9]{1,19}", value):
            raise ValueError("the body is no OTLP/JSON: an intValue is no 64-bit integer")
        value = int(value)
    if not -(2**63) <= value < 2**63:
        raise ValueError("the body is no OTLP/JSON: an intValue is no 64-bit integer")
    return value


def _bytes(text: str) -> bytes:
    """Either alphabet of base64, with or without padding, as protobuf's JSON allows."""
    text = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("the body is no OTLP/JSON: a bytesValue is no base64") from error


_TOO_DEEP = msgspec.Raw(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1))
"""Stands for what is nested too deeply: the decoder rejects it for the same reason."""
_NOT_FINITE = msgspec.Raw(b"1e999")


def _number(value: float) -> Any:
    """The collector parses every number as a double: what is integral was most likely written as an integer."""
    if not math.isfinite(value):
        return _NOT_FINITE
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)

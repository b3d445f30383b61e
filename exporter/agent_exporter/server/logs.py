"""POST /v1/logs: OTLP log records. Requests that are too large are refused as early as possible.

The answer waits for the commit of the lines. It has the encoding of the request, also for errors.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from agent_exporter.server.handlers import Handler, Refusal, ServerContext
from agent_exporter.sources.otlp import QueueFull, Receipt
from agent_exporter.sources.otlp_json import decode_json
from agent_exporter.sources.otlp_protobuf import decode_protobuf
from agent_exporter.spans.encode import field, varint

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_exporter.sources.otlp_records import Record

ANSWER_DEADLINE = 25.0
"""Seconds that a sender waits for the commit of its lines: less than the collector's timeout of 30."""
MAX_BODY = 20 << 20
"""Bytes, both before and after decompression: the default of a collector's own receiver."""
MAX_BODIES = 64 << 20
"""Bytes of all bodies being received or waiting to be decoded; beyond it senders are asked to try again."""
MAX_MEMBERS = 1000
"""Number of gzip members in one body."""
_STEP = 64 << 10
"""Bytes that are decompressed at once."""

_JSON = "application/json"
_DECODERS: dict[str, Callable[[bytes | bytearray], list[Record]]] = {
    "application/x-protobuf": decode_protobuf,
    _JSON: decode_json,
}
_CODES = {401: 16, 403: 7, 404: 12, 405: 12, 500: 13, 503: 14}
"""google.rpc.Code: UNAUTHENTICATED, PERMISSION_DENIED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE."""
_INVALID_ARGUMENT = 3


class Logs(Handler):
    """OTLP log records. Forbidden and too large requests are refused before the body is read."""

    server: ServerContext
    allow = "POST"

    def initialize(self, server: Any) -> None:
        super().initialize(server)
        self.kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.encoding = self.request.headers.get("Content-Encoding", "identity").strip().lower()
        self.body = bytearray()
        self.held = 0
        self.decoding = False

    def prepare(self) -> None:
        super().prepare()
        if self.server.otlp is None:
            raise Refusal(404, "otlp_logs.enabled is false in the config")
        if self.server.token is None and not self.server.loopback:
            raise Refusal(403, "lines from other machines need server.token_file, so that no one else writes them")
        if self.kind not in _DECODERS:
            raise Refusal(415, "Content-Type must be application/x-protobuf or application/json")
        if self.encoding not in {"identity", "gzip"}:
            raise Refusal(415, "Content-Encoding must be gzip or absent")
        self._check_length()
        self.request.connection.set_max_body_size(1 << 62)  # type: ignore[union-attr]  # data_received counts

    def _check_length(self) -> None:
        length = self.request.headers.get("Content-Length")
        if "Transfer-Encoding" in self.request.headers:
            if length is not None:
                raise Refusal(400, "Content-Length and Transfer-Encoding exclude each other")
            return
        if length is None:
            raise Refusal(411, "Content-Length is required")
        lengths = {part.strip() for part in length.split(",")}
        first = lengths.pop()
        if lengths or not first.isascii() or not first.isdigit():
            raise Refusal(400, "Content-Length must be one number")
        if len(first) > 15 or int(first) > MAX_BODY:
            raise _too_large()

    def data_received(self, chunk: bytes) -> None:
        if self._finished:
            return
        size = len(chunk)
        if self.held + size > MAX_BODY:
            self._refuse(_too_large())
        elif self.server.receiving + size > MAX_BODIES:
            self._refuse(_busy("too many bodies are being received"))
        else:
            self.server.receiving += size
            self.held += size
            self.body += chunk

    def _refuse(self, refusal: Refusal) -> None:
        """In the middle of a body: what is left of it is not waited for."""
        self.send_error(refusal.status_code, exc_info=(type(refusal), refusal, None))

    def on_finish(self) -> None:
        self._release()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._release()

    def _release(self) -> None:
        if not self.decoding:  # a body that waits for a thread is in memory even if its sender is gone
            self.server.receiving -= self.held
            self.held = 0
            self.body = bytearray()

    async def post(self) -> None:
        otlp = self.server.otlp
        assert otlp is not None
        try:
            records = await self._decode()
            answer = otlp.deliver(records)
            del records
            receipt = await asyncio.wait_for(asyncio.wrap_future(answer), self.server.answer_deadline)
        except ValueError as error:
            raise Refusal(400, str(error)) from error
        except (QueueFull, TimeoutError) as error:
            raise _busy(str(error) or "the lines were not counted in time") from error
        self.send(_response(receipt, self.kind), self.kind)

    async def _decode(self) -> list[Record]:
        self.decoding = True
        try:
            body, self.body = self.body, bytearray()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.server.decoders, _decode, self.kind, self.encoding, body)
        finally:
            self.decoding = False
            self._release()

    def finish_error(self, sentence: str) -> None:
        """A google.rpc.Status in the encoding of the request, as OTLP has it."""
        code = _CODES.get(self.get_status(), _INVALID_ARGUMENT)
        if self.kind == _JSON:
            self.send(msgspec.json.encode({"code": code, "message": sentence}), self.kind)
        elif self.kind in _DECODERS:
            self.send(b"\x08" + varint(code) + field(2, sentence.encode("utf-8", "replace")), self.kind)
        else:
            super().finish_error(sentence)


def _response(receipt: Receipt, kind: str) -> bytes:
    """An ExportLogsServiceResponse; empty unless lines were rejected."""
    if not receipt.rejected:
        return b"{}" if kind == _JSON else b""
    why = f"{receipt.rejected} lines are not records; the last one: {receipt.why}".encode("utf-8", "replace")
    if kind == _JSON:
        partial = {"rejectedLogRecords": str(receipt.rejected), "errorMessage": why.decode()}
        return msgspec.json.encode({"partialSuccess": partial})
    return field(1, b"\x08" + varint(receipt.rejected) + field(2, why))


def _too_large() -> Refusal:
    return Refusal(413, f"the body is over {MAX_BODY >> 20} MiB")


def _busy(sentence: str) -> Refusal:
    return Refusal(503, sentence, Retry_After="1")


def _decode(kind: str, encoding: str, body: bytes | bytearray) -> list[Record]:
    return _DECODERS[kind](_gunzip(body) if encoding == "gzip" else body)


def _gunzip(data: bytes | bytearray) -> bytes:
    """All members of a gzip file, never more than MAX_BODY bytes of them: a megabyte may hold a gigabyte.

    Step by step, as zlib copies what follows a member: a million empty members would copy the rest a million times.
    """
    view = memoryview(data)
    out: list[bytes] = []
    size = at = members = 0
    while at < len(view) or not members:
        members += 1
        if members > MAX_MEMBERS:
            raise ValueError(f"the body's gzip has over {MAX_MEMBERS} members")
        inflater = zlib.decompressobj(31)
        while not inflater.eof:
            step = view[at : at + _STEP]
            if not step:
                raise ValueError("the body's gzip is cut off")
            at += len(step)
            try:
                out.append(inflater.decompress(step, MAX_BODY + 1 - size))
            except zlib.error as error:
                raise ValueError(f"the body is not gzip: {error}") from error
            size += len(out[-1])
            if size > MAX_BODY:
                raise Refusal(413, f"the body is over {MAX_BODY >> 20} MiB when decompressed")
        at -= len(inflater.unused_data)
    return b"".join(out)

"""POST /v1/logs: OTLP log records. The answer has the encoding of the request, also for errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from agent_exporter.server.intake import Intake
from agent_exporter.sources.otlp_json import decode_json
from agent_exporter.sources.otlp_protobuf import decode_protobuf
from agent_exporter.spans.encode import field, varint

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_exporter.sources.otlp import OtlpSource
    from agent_exporter.sources.otlp_records import Record
    from agent_exporter.sources.requests import Receipt

_JSON = "application/json"
_DECODERS: dict[str, Callable[[bytes | bytearray], list[Record]]] = {
    "application/x-protobuf": decode_protobuf,
    _JSON: decode_json,
}
_CODES = {401: 16, 403: 7, 404: 12, 405: 12, 500: 13, 503: 14}
"""google.rpc.Code: UNAUTHENTICATED, PERMISSION_DENIED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE."""
_INVALID_ARGUMENT = 3


class Logs(Intake):
    """OTLP log records."""

    types = (*_DECODERS,)
    types_in_words = "application/x-protobuf or application/json"
    key = "otlp_logs.enabled"

    @property
    def source(self) -> OtlpSource | None:
        """The queue of OTLP."""
        return self.server.otlp

    def read(self, body: bytes | bytearray) -> list[Record]:
        """The log records of a request."""
        return _DECODERS[self.kind](body)

    def answer(self, receipt: Receipt) -> bytes:
        """An ExportLogsServiceResponse."""
        return _response(receipt, self.kind)

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

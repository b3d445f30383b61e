"""POST /v1/ndjson?format=NAME: lines as they are, from LiteLLM, fluent-bit, Vector, Logstash or curl."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from agent_exporter.server.handlers import Refusal
from agent_exporter.server.intake import Intake
from agent_exporter.sources.ndjson import NdjsonSource, read_lines

if TYPE_CHECKING:
    from agent_exporter.sources.otlp_records import Record
    from agent_exporter.sources.requests import Receipt


class Ndjson(Intake):
    """Lines of JSON, or an array of objects."""

    types = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/json")
    types_in_words = "application/x-ndjson or application/json"
    key = "ndjson.enabled"

    @property
    def source(self) -> NdjsonSource | None:
        """The queue of lines."""
        return self.server.ndjson

    @property
    def answer_type(self) -> str:
        """Whatever the lines came as."""
        return "application/json"

    def prepare(self) -> None:
        super().prepare()
        self.format = self.get_query_argument("format", "")
        source = self.source
        if self.format and source is not None and self.format not in source.formats():
            raise Refusal(400, f"format must be one of {', '.join(source.formats())}; ndjson.formats adds more")

    def read(self, body: bytes | bytearray) -> list[Record]:
        """The lines of a request."""
        return read_lines(body, self.format)

    def answer(self, receipt: Receipt) -> bytes:
        """How many lines are no records, and why the last one is not. To send them again would not help."""
        said = {"rejected": receipt.rejected} | ({"why": receipt.why} if receipt.rejected else {})
        return msgspec.json.encode(said)

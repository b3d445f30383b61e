"""Log records that an OpenTelemetry collector, or any OTLP/HTTP sender, posts to /v1/logs.

A record's body is a line: as text, as bytes, or already parsed into a map, which is written as JSON again so that
there is one decode path. The answer waits for the commit: what was answered with 200 is counted for good.
`otlp_protobuf` and `otlp_json` make lines of requests; here they wait, and pieces of lines are joined.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from agent_exporter.formats import ContainerFormat
from agent_exporter.lines import MAX_LINE, NO_ORIGIN, Batch, Origin
from agent_exporter.sources.requests import MAX_BYTES, MAX_REQUESTS, RequestSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agent_exporter.sources.otlp_records import Record
    from agent_exporter.state import Row


ROW_KIND = "otlp_stream"
MAX_STREAMS = 1024
"""Files and containers of which unfinished pieces are remembered."""
MAX_PIECES = 64 << 20
"""Bytes of all unfinished pieces. Beyond either bound the oldest are handed on as they are, to be rejected."""


class OtlpSource(RequestSource):
    """Records of OTLP. Pieces of lines are joined, over requests and restarts."""

    name = "otlp"
    kinds = (ROW_KIND,)

    def __init__(self, wake: Callable[[], None], max_requests: int = MAX_REQUESTS, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(wake, max_requests, max_bytes)
        self._streams: OrderedDict[str, ContainerFormat] = OrderedDict()
        """Those with unfinished pieces, the one touched last at the end."""
        self._held = 0
        self._before: dict[str, bytes | None] = {}
        """What the last commit holds of each stream that has changed since; None for nothing."""

    def _lines(self, records: Sequence[Record]) -> Batch:
        lines: list[bytes] = []
        too_long = nul_bytes = 0
        envelopes: list[bytes] = []
        origins: list[tuple[int, Origin]] = []
        for stream, body, origin, envelope in records:
            if not origins or origins[-1][1] is not origin:
                origins.append((len(lines), origin))
            line = body.lstrip(b"\0") if body.startswith(b"\0") else body
            nul_bytes += len(body) - len(line)
            if len(line) > 2 * MAX_LINE:  # twice, as a wrapper's escapes may double it
                too_long += 1
                continue
            found, more, nuls, *_ = self._records(stream, line)
            too_long += more
            nul_bytes += nuls
            for record in found:
                if len(record) > MAX_LINE:
                    too_long += 1
                else:
                    lines.append(record)
                    envelopes.append(envelope)
        origins.append((len(lines), NO_ORIGIN))
        while len(self._streams) > MAX_STREAMS or self._held > MAX_PIECES:
            pieces, more, *_ = self._forget(next(iter(self._streams)))
            lines += pieces
            envelopes += [b""] * len(pieces)
            too_long += more
        self.origins = origins
        return Batch(lines, too_long, nul_bytes, envelopes)

    def _records(self, stream: str, line: bytes) -> Batch:
        """The records that a line ends. A format is kept only as long as it holds pieces."""
        format_ = self._streams.pop(stream, None)
        if format_ is None:
            format_ = ContainerFormat()
            batch = format_.feed((line,))
            if not format_.unfinished:
                return batch
            self._before.setdefault(stream, None)
        else:
            self._remember(stream, format_)
            self._held -= format_.held
            batch = format_.feed((line,))
        if format_.unfinished:
            self._streams[stream] = format_
            self._held += format_.held
        return batch

    def _remember(self, stream: str, format_: ContainerFormat) -> None:
        if stream not in self._before:
            self._before[stream] = format_.dump()

    def _forget(self, stream: str) -> Batch:
        format_ = self._streams.pop(stream)
        self._remember(stream, format_)
        self._held -= format_.held
        return format_.end()

    def committed(self) -> None:
        """Answer the requests whose lines are on disk."""
        super().committed()
        self._before.clear()

    def refused(self) -> None:
        """Pieces go back to what they were, as the retry brings them again."""
        for stream, before in self._before.items():
            self._put(stream, before)
        super().refused()

    def changes(self) -> Iterator[Row]:
        """Streams with unfinished pieces: what was answered with 200 must not wait in memory alone.

        Until a commit succeeds they are given each time, as `refused` may have changed them back.
        """
        for stream in self._before:
            format_ = self._streams.get(stream)
            yield ROW_KIND, stream, format_.dump() if format_ is not None else None

    def restore(self, rows: Iterable[tuple[str, bytes]]) -> None:
        """Take up unfinished pieces."""
        for stream, value in rows:
            self._put(stream, value)

    def _put(self, stream: str, value: bytes | None) -> None:
        format_ = self._streams.pop(stream, None)
        if format_ is not None:
            self._held -= format_.held
        if value is not None:
            format_ = self._streams[stream] = ContainerFormat.load(value)
            self._held += format_.held

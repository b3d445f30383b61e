"""The handler of what is posted: bodies of records. Requests that are too large are refused as early as possible.

The answer waits for the commit of the lines.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING, Any, ClassVar

from agent_exporter.server.handlers import Handler, Refusal, ServerContext
from agent_exporter.sources.requests import QueueFull, Receipt, RequestSource

if TYPE_CHECKING:
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


class Intake(Handler):
    """Forbidden and too large requests are refused before the body is read. Subclasses say what is posted where."""

    server: ServerContext
    allow = "POST"
    types: ClassVar[tuple[str, ...]]
    """Content types. None that a page of another site may send without being asked for: forms, and text/plain."""
    types_in_words: str
    key: str
    """Of the config, which turns it off."""

    @property
    def source(self) -> RequestSource | None:
        """Where the records go; None if it is turned off."""
        raise NotImplementedError

    def read(self, body: bytes | bytearray) -> list[Record]:
        """The records of a body. Runs in a thread of its own. Raises ValueError."""
        raise NotImplementedError

    def answer(self, receipt: Receipt) -> bytes:
        """The body of the answer."""
        raise NotImplementedError

    @property
    def answer_type(self) -> str:
        """Its content type."""
        return self.kind

    def initialize(self, server: Any) -> None:
        super().initialize(server)
        self.kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.encoding = self.request.headers.get("Content-Encoding", "identity").strip().lower()
        self.body = bytearray()
        self.held = 0
        self.decoding = False

    def prepare(self) -> None:
        super().prepare()
        if self.source is None:
            raise Refusal(404, f"{self.key} is false in the config")
        if self.server.token is None and not self.server.loopback:
            raise Refusal(403, "lines from other machines need server.token_file, so that no one else writes them")
        if self.kind not in self.types:
            raise Refusal(415, f"Content-Type must be {self.types_in_words}")
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
        source = self.source
        assert source is not None
        try:
            records = await self._decode()
            answer = source.deliver(records)
            del records
            receipt = await asyncio.wait_for(asyncio.wrap_future(answer), self.server.answer_deadline)
        except ValueError as error:
            raise Refusal(400, str(error)) from error
        except (QueueFull, TimeoutError) as error:
            raise _busy(str(error) or "the lines were not counted in time") from error
        self.send(self.answer(receipt), self.answer_type)

    async def _decode(self) -> list[Record]:
        self.decoding = True
        try:
            body, self.body = self.body, bytearray()
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self.server.decoders, self._read, body)
        finally:
            self.decoding = False
            self._release()

    def _read(self, body: bytes | bytearray) -> list[Record]:
        return self.read(_gunzip(body) if self.encoding == "gzip" else body)


def _too_large() -> Refusal:
    return Refusal(413, f"the body is over {MAX_BODY >> 20} MiB")


def _busy(sentence: str) -> Refusal:
    return Refusal(503, sentence, Retry_After="1")


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

"""One rendering of /metrics for all who ask while the one before it is made.

    asks  a      b  c d                      e
          |----- 1 -----|----- 2 -----|      |----- 3 -----|
    gets  a: 1          b, c and d: 2        e: 3

So a page is never older than its request, and ninety clients that ask over and over cost little more than one. Between
two renderings lies as much time as the last one took: half of a core at most.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from typing import TYPE_CHECKING

from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future, ThreadPoolExecutor


class Rendering:
    """A page, and the same compressed if somebody asks for that."""

    def __init__(self, content_type: str, body: bytes, pool: ThreadPoolExecutor) -> None:
        self.content_type = content_type
        self.body = body
        self._pool = pool
        self._compressed: asyncio.Future[bytes] | None = None

    async def compressed(self) -> bytes:
        """With gzip, once for all who ask."""
        if self._compressed is None:
            # Level 1: a scrape is read once, on the same machine or network. 31: as gzip.
            loop = asyncio.get_running_loop()
            self._compressed = loop.run_in_executor(self._pool, zlib.compress, self.body, 1, 31)
        return await asyncio.shield(self._compressed)


class Renderings:
    """Of each format that an Accept header may ask for. Only for the thread of the server's loop."""

    def __init__(self, render: Callable[[str], Future[tuple[str, bytes]]], pool: ThreadPoolExecutor) -> None:
        self._render = render
        self._pool = pool
        self._running: dict[str, asyncio.Task[Rendering]] = {}
        self._next: dict[str, asyncio.Task[Rendering]] = {}
        self._rest_until = 0.0

    async def get(self, accept: str) -> Rendering:
        """One that begins from now on. Raises what `render` raises."""
        _, content_type = choose_encoder(accept)  # there are few of these, and any number of Accept headers
        task = self._next.get(content_type)
        if task is None:
            task = self._next[content_type] = asyncio.create_task(self._make(content_type, accept))
            task.add_done_callback(lambda made: made.cancelled() or made.exception())  # all may have hung up
        return await asyncio.shield(task)

    async def _make(self, content_type: str, accept: str) -> Rendering:
        before = self._running.get(content_type)
        if before is not None:
            await asyncio.wait([before])
        await asyncio.sleep(max(0.0, self._rest_until - time.monotonic()))
        task = self._running[content_type] = self._next.pop(content_type)
        began = time.monotonic()
        try:
            return Rendering(*await asyncio.wrap_future(self._render(accept)), self._pool)
        finally:
            ended = time.monotonic()
            self._rest_until = ended + (ended - began)
            if self._running.get(content_type) is task:
                del self._running[content_type]

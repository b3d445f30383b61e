"""One rendering of a page for all who ask for it while the one before it is made.

    asks  a      b  c d                      e
          |----- 1 -----|----- 2 -----|      |----- 3 -----|
    gets  a: 1          b, c and d: 2        e: 3

So a page is never older than its request, and ninety clients that ask over and over cost little more than one. One
page is made at a time, and after it as much time is left to others as it took, or a multiple.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")


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


class Renderings(Generic[T]):
    """Pages by a key. Only for the thread of the server's loop.

    `rest` is for how long none is made after one, as a multiple of the time that it took.
    """

    def __init__(self, rest: float = 1.0) -> None:
        self._rest = rest
        self._turn = asyncio.Lock()
        self._waiting: dict[Hashable, asyncio.Task[T]] = {}
        self._rest_until = 0.0

    async def get(self, key: Hashable, render: Callable[[], Awaitable[T]]) -> T:
        """One that begins from now on. Raises what `render` raises."""
        task = self._waiting.get(key)
        if task is None:
            task = self._waiting[key] = asyncio.create_task(self._make(key, render))
            task.add_done_callback(lambda made: made.cancelled() or made.exception())  # all may have hung up
        return await asyncio.shield(task)

    async def _make(self, key: Hashable, render: Callable[[], Awaitable[T]]) -> T:
        try:
            async with self._turn:
                await asyncio.sleep(max(0.0, self._rest_until - time.monotonic()))
                del self._waiting[key]
                began = time.monotonic()
                try:
                    return await render()
                finally:
                    ended = time.monotonic()
                    self._rest_until = ended + self._rest * (ended - began)
        except asyncio.CancelledError:
            self._waiting.pop(key, None)
            raise

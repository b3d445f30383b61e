"""A thread with an asyncio loop, for what waits on sockets: one for the server and the span sender, one for probes."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from concurrent.futures import Future

T = TypeVar("T")


class EventLoop:
    """A daemon thread: what it does can be cut off, as nothing that must not be lost lives here."""

    def __init__(self, name: str = "eventloop") -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; what was submitted before is done then."""
        self._thread.start()

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Have a coroutine run on the loop. From any other thread. Raises RuntimeError after `stop`."""
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            coroutine.close()
            raise

    def stop(self) -> None:
        """Cancel what still runs and end the thread."""
        if self._loop.is_closed():
            return
        if self._thread.ident is None:  # never started
            self._loop.close()
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            # More than once: what was submitted meanwhile starts only now, and somebody waits for it.
            self._loop.run_until_complete(asyncio.sleep(0))
            while left := asyncio.all_tasks(self._loop):
                for task in left:
                    task.cancel()
                self._loop.run_until_complete(asyncio.wait(left))
        finally:
            self._loop.close()

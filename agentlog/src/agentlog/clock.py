"""The source of the time: the machine's clocks, or those of a test or a simulation."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass(frozen=True)
class Clock:
    """Four functions, each in seconds. The defaults are the machine's own."""

    now: Callable[[], float] = time.time
    """Seconds since 1970, for the lines."""
    monotonic: Callable[[], float] = time.perf_counter
    """For durations: runs evenly even if `now` is set."""
    sleep: Callable[[float], None] = time.sleep
    """Waits between attempts."""
    asleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """The same in async code."""


def written(now: float) -> str:
    """RFC 3339 in UTC, to the microsecond, so that times keep the order of lines."""
    return datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="microseconds")[:-6] + "Z"

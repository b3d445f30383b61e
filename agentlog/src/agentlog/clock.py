"""Where the time comes from: the machine's clocks, or those of a test or a simulation."""

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
    """Four functions, each in seconds. What is not given is the machine's own."""

    now: Callable[[], float] = time.time
    """Since 1970: what the lines tell."""
    monotonic: Callable[[], float] = time.perf_counter
    """For durations: goes on evenly, whatever happens to `now`."""
    sleep: Callable[[float], None] = time.sleep
    """Waits between attempts."""
    asleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """The same in async code."""


def written(now: float) -> str:
    """RFC 3339 in UTC, to the microsecond: the order of lines is the order of their times."""
    return datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="microseconds")[:-6] + "Z"

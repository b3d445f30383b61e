"""Numbers and times as people read them. Pure: the same values give the same text."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NOTHING = "—"
"""Where there is no value."""


def ago(then: float, now: float) -> str:
    """How long ago, in the largest unit that is above one."""
    return f"{' '.join(duration(max(0.0, now - then)).split()[:2])} ago" if then else "never"


def duration(seconds: float) -> str:
    """In the largest unit that is above one, with a second unit where that helps."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds % 1 >= 0.05 else f"{seconds:.0f} s"
    whole = int(seconds)
    for unit, size, part, smaller in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {part}" if rest and whole < 10 * size else "")
    return f"{whole} s"


def count(number: float) -> str:
    """A number of things with its magnitude in a letter: 950, 12.4 k, 3.1 M."""
    for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if number >= size:
            scale = {"k": 1e3}.get(letter, size)
            return f"{number / scale:.1f} {letter}"
    return f"{number:,.0f}"


def money(dollars: float) -> str:
    """US dollars; small amounts keep enough digits to differ from zero."""
    if 0 < dollars < 0.01:
        return f"${dollars:.4f}"
    return f"${dollars:,.2f}"


def percent(part: float, whole: float) -> str:
    """A share, or a dash where there is nothing to share."""
    if not whole:
        return NOTHING
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 10 or share == 0 else f"{share:.1f} %"


def clock(at: float, now: float | None = None) -> str:
    """HH:MM:SS in UTC, with its date if that is not the one of `now`."""
    then = datetime.fromtimestamp(at, UTC)
    today = now is None or then.date() == datetime.fromtimestamp(now, UTC).date()
    return then.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def moment(at: float) -> str:
    """Date and time in UTC, for machines and tooltips."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def total(values: Sequence[float | None], shown: Callable[[float], str]) -> str:
    """The sum of the known values; unknown if there are none."""
    known = [value for value in values if value is not None]
    return shown(sum(known)) if known else NOTHING

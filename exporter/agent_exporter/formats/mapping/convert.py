"""Numbers, texts and times of other programs, whatever their form. Nothing here raises; None is "not one"."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from math import isfinite
from typing import Any

MAX_DIGITS = 40
"""Characters of a text that may be a number or a time."""
MAX_MESSAGE = 8192
"""Characters of the message of an error. The detectors compare messages; in a tool's output, the reason comes first."""
UNITS = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
"""Milliseconds in each."""


def number(x: Any) -> int | float | None:
    """A number, or a text that is one."""
    kind = x.__class__
    if kind is int:
        return x  # type: ignore[no-any-return]
    if kind is float:
        return x if isfinite(x) else None
    if kind is not str or len(x) > MAX_DIGITS:
        return None
    try:
        return int(x)
    except ValueError:
        pass
    try:
        found = float(x)
    except ValueError:
        return None
    return found if isfinite(found) else None


def whole(x: Any) -> int | None:
    """A count: fractions are cut off."""
    found = number(x)
    return None if found is None else int(found)


def text(x: Any) -> str | None:
    """A text, or the text of a number or a bool."""
    kind = x.__class__
    if kind is str:
        return x  # type: ignore[no-any-return]
    if kind is bool:
        return "true" if x else "false"
    if kind is int:
        return str(x) if abs(x) < 10**MAX_DIGITS else None
    return repr(x) if kind is float else None


def message(x: Any) -> str | None:
    """A text of which the first MAX_MESSAGE characters say enough."""
    found = text(x)
    return found if found is None or len(found) <= MAX_MESSAGE else found[:MAX_MESSAGE]


def yes_or_no(x: Any) -> bool | None:
    """A bool, or the text of one."""
    return {"true": True, "false": False}.get(text(x) or "")


def moment(x: Any, zone: tzinfo = UTC) -> float | None:
    """Seconds since 1970 of a text, or of a number of any scale, which its size shows. `zone`: of texts without one."""
    if x.__class__ is str:
        if len(x) > MAX_DIGITS:
            return None
        try:
            at = datetime.fromisoformat(x)
            return (at if at.tzinfo else at.replace(tzinfo=zone)).timestamp()
        except (ValueError, OverflowError, OSError):
            pass
    n = number(x)
    if n is None or not 0 < n < 1e20:
        return None
    return n / 1e9 if n > 1e17 else n / 1e6 if n > 1e14 else n / 1e3 if n > 1e11 else float(n)


def stamp(x: Any, zone: tzinfo = UTC) -> str | None:
    """A time as our lines have it."""
    if x.__class__ is str and x[-1:] == "Z" and x[10:11] == "T" and len(x) <= 30:
        return x  # as it is, to be judged by the decoder
    at = moment(x, zone)
    try:
        return None if at is None else datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None

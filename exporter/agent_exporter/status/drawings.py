"""Small drawings as inline SVG, each with the same said in words. They hold numbers and our own texts only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_exporter.formatting import count
from agent_exporter.thresholds import WARN_SHARE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH, HEIGHT = 120, 24


def spark(values: Sequence[int]) -> str:
    """Tokens per minute as bars, oldest first, the minute under way last."""
    highest = max(values, default=0)
    if not highest:
        return '<span class="none">no tokens</span>'
    step = WIDTH / len(values)
    bars = "".join(
        f'<rect x="{index * step:.1f}" y="{HEIGHT - size:.1f}" width="{step - 1:.1f}" height="{size:.1f}"/>'
        for index, value in enumerate(values)
        if (size := max(1.0, HEIGHT * value / highest) if value else 0)
    )
    said = f"tokens per minute over {len(values)} minutes: now {count(values[-1])}, at most {count(highest)}"
    return (
        f'<svg class="spark" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{said}"><title>{said}</title>{bars}</svg>'
    )


def gauge(value: float, cap: float | None, say: Callable[[float], str]) -> str:
    """A value against its cap; without a cap, the value."""
    if cap is None:
        return say(value)
    level = "bad" if value > cap else "warn" if value >= WARN_SHARE * cap else "good"
    return (
        f'<span class="gauge {level}">{say(value)} of {say(cap)}'
        f'<svg viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="rail" width="100" height="4"/>'
        f'<rect width="{min(100.0, 100 * value / cap):.1f}" height="4"/></svg></span>'
    )
